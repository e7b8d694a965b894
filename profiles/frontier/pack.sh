#!/bin/bash
# pack.sh: put .venv and orbit2 into one archive, which jobs of many nodes broadcast to their nodes' disks (node.sh). On the login node, after
# each `make install` or change of orbit2: an archive of other packages or other code is not used.
# pack.sh --name: only print the archive's path.
# The Python that .venv was made from stays where it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

files=$(find orbit2 -type f ! -name '*.pyc' | LC_ALL=C sort)
key=$({ ls .venv/lib/python3*/site-packages; cat $files; } | sha256sum | cut -c1-12)
archive=$PWD/.snakemake/orbit2/environment-$key.tar
if [ "${1:-}" = --name ]; then
    echo "$archive"
    exit
fi
[ ! -f "$archive" ] || { echo "$archive: is there already"; exit; }
mkdir -p "$(dirname "$archive")"
rm -f .snakemake/orbit2/environment-*
pack=(tar -cf "$archive.part" --transform='s,^\.,.venv,S' -C "$(readlink -f .venv)" . -C "$PWD" orbit2)
if command -v zstd > /dev/null; then pack+=(--use-compress-program='zstd -T0'); fi
"${pack[@]}"
mv "$archive.part" "$archive"
echo "$archive: $(du -h "$archive" | cut -f1)"
