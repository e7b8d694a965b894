# Source this before `snakemake --profile profiles/frontier`: modules, the environment of `make install`, and the network's settings.
module load PrgEnv-gnu rocm craype-accel-amd-gfx90a libfabric aws-ofi-rccl

# libfabric over Slingshot
export FI_MR_CACHE_MONITOR=kdreg2
export FI_CXI_DEFAULT_CQ_SIZE=131072
export FI_CXI_DEFAULT_TX_SIZE=2048
export FI_CXI_RX_MATCH_MODE=hybrid

# RCCL
export NCCL_NET_GDR_LEVEL=3
export NCCL_CROSS_NIC=1
export NCCL_SOCKET_IFNAME=hsn0
export TORCH_NCCL_HIGH_PRIORITY=1

# MIOpen's kernel cache on the node, not on the shared file system
export MIOPEN_DISABLE_CACHE=1
export MIOPEN_USER_DB_PATH="/tmp/${SLURM_JOB_ID:-$USER}"

export OMP_NUM_THREADS=7
source "$(dirname "${BASH_SOURCE[0]}")/../../.venv/bin/activate"
