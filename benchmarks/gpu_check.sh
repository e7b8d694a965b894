#!/usr/bin/env bash
# Everything that one GPU says of orbit2, in one call of at most eight minutes: tests on the device, the network, the trainer, downscale.
#
#   benchmarks/gpu_check.sh [OUT]        # OUT (default $OUT, else benchmarks/results): <part>_<device>.json, written after every case
#   QUICK=1 benchmarks/gpu_check.sh OUT  # small, on whatever there is: does it run, not how fast
#
#   benchmarks/gpu_check.sh wheels 3.12  # before, where there is a network: what a machine of torch, numpy, scipy and xarray lacks, into .whl
#
# Needs no network: packages that lack are installed from .whl, for this call alone. PYTHON says which Python holds torch. Parts that fail
# leave the others' results.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = wheels ]; then
  python=${PYTHON:-python3}
  lacking='annotated-types|cf-units|cftime|dask|donfig|google-crc32c|h5netcdf|numcodecs|platformdirs|pydantic|pydantic_core|pyproj|shapely|typing-inspection|zarr|zarrs'
  platforms=(--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux1_x86_64)
  exec "$python" -m pip download -q --no-deps --only-binary=:all: --python-version "${2:-3.12}" --implementation cp "${platforms[@]}" \
    -d .whl $(grep -E "^($lacking)==" constraints.txt)
fi
out=$(realpath -m "${1:-${OUT:-benchmarks/results}}")
python=${PYTHON:-python3}
mkdir -p "$out"
if compgen -G '.whl/*.whl' >/dev/null; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" .whl/*.whl || exit 2
  export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
quick=${QUICK:+--quick}
failed=0
part() { # name, seconds at most, command...
  local name=$1 most=$2
  shift 2
  echo "== $name"
  timeout "$most" "$@" 2>&1 | tee "$out/gpu_check_$name.log"
  local code=${PIPESTATUS[0]}
  echo "== $name: exit $code"
  [ "$code" -eq 0 ] || failed=1
}
part device 30 "$python" -c 'import torch; print(torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")'
pytest="-m pytest -v -p no:cacheprovider -m gpu tests/unit/model/test_on_a_gpu.py" # only its own imports: others' packages need not be there
part tests 60 "$python" $pytest -k "not compiled"
part network 195 "$python" benchmarks/gpu.py $quick --out-dir "$out" --minutes 2.6
part ends 150 "$python" benchmarks/gpu_ends.py $quick --out-dir "$out" --minutes 1.8
part compiled 75 "$python" $pytest -k "compiled"
exit "$failed"
