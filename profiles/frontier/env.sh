# Source this before `snakemake --profile profiles/frontier`: modules and the environment of `make install`. Nothing here depends on a job or
# a node: what does is in node.sh, which each job of several ranks sources where it runs.
# Versions that OLCF recommends together, with torch 2.10.0 for ROCm 7.1 (docs.olcf.ornl.gov, PyTorch on Frontier); rccl-net-plugin after rocm: it
# sets RCCL's and libfabric's variables for Slingshot, FI_CXI_RDZV_PROTO=alt_read among them, which jobs ask the network for (--network).
module load PrgEnv-gnu/8.7.0 cpe/26.03 rocm/7.1.1 rccl-net-plugin craype-accel-amd-gfx90a
export LD_LIBRARY_PATH="${CRAY_LD_LIBRARY_PATH:-}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" # because cpe is not the default one

export NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-hsn0,hsn1,hsn2,hsn3} # ranks that hang at the start: hsn0 alone
export GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-hsn0}                # ranks agree on flags over gloo
export OMP_NUM_THREADS=7

source "$(dirname "${BASH_SOURCE[0]}")/../../.venv/bin/activate"
