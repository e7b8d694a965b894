# Sourced by a job of several ranks on its first node, just before they start (`node_setup` in config.yaml). Caches and, where a job has many
# nodes, the environment go to the nodes' own disks, which SLURM empties after the job. Never an error: what cannot be done is said, and read
# from the shared file system.

# prepare_nodes NODES
prepare_nodes() {
    local nodes=$1 disk=${ORBIT2_NODE_DISK:-/mnt/bb/$USER} began=$SECONDS place root archive
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    place=$disk/orbit2-${SLURM_JOB_ID:-$$}
    if ! on_each_node "$nodes" bash -c '[ -d "$0" ] && mkdir -p "$@"' "$disk" "$place"/{code,miopen,inductor,triton,samples}; then
        echo "node set-up: not every node has a disk of its own at $disk: caches and environment stay where they are"
        return 0
    fi
    # OLCF: MIOpen's files on a shared file system end in I/O errors
    export MIOPEN_USER_DB_PATH=$place/miopen MIOPEN_CUSTOM_CACHE_DIR=$place/miopen
    export TORCHINDUCTOR_CACHE_DIR=$place/inductor TRITON_CACHE_DIR=$place/triton
    export ORBIT2_CACHE=${ORBIT2_CACHE:-$place/samples} ORBIT2_CACHE_GB=${ORBIT2_CACHE_GB:-1500}
    # on one node the network is not set up for RCCL, on several nothing slower may be taken silently
    if [ "$nodes" -gt 1 ]; then export NCCL_NET=OFI; else export NCCL_NET=Socket; fi
    [ "$nodes" -ge "${ORBIT2_BROADCAST_FROM:-8}" ] || return 0
    if [ ! -d "$root/.venv" ] || [ ! -d "$root/orbit2" ]; then
        echo "node set-up: no checkout with an environment at $root: all $nodes nodes read it from the shared file system"
        return 0
    fi
    archive=$("$root/profiles/frontier/pack.sh" --name)
    if [ ! -f "$archive" ]; then
        echo "node set-up: the environment is read from the shared file system by all $nodes nodes: on the login node, run profiles/frontier/pack.sh"
    elif sbcast --force "$archive" "$place/code/archive.tar" && on_each_node "$nodes" bash "$root/profiles/frontier/unpack.sh" "$place/code"; then
        export PATH=$place/code/.venv/bin:$PATH PYTHONPATH=$place/code VIRTUAL_ENV=$place/code/.venv
        echo "node set-up: environment on the disks of $nodes node(s) after $((SECONDS - began)) s"
    else
        echo "node set-up: the broadcast of $archive failed, the environment is read from the shared file system"
    fi
}

# on_each_node NODES COMMAND...
on_each_node() {
    local nodes=$1
    shift
    srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 "$@"
}
