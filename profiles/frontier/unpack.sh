#!/bin/bash
# unpack.sh PLACE: on a node, unpack PLACE/archive.tar there. A virtual environment knows its place only in its scripts: the one
# that ranks are started by is written anew (-P: not from the working directory, which is a clone of orbit2 too).
set -euo pipefail
cd "$1"
tar -xf archive.tar
rm archive.tar
printf '#!/bin/sh\nexec "%s/.venv/bin/python" -P -m orbit2 "$@"\n' "$PWD" > orbit2.part
chmod +x orbit2.part
mv orbit2.part .venv/bin/orbit2
