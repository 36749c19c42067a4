#!/bin/sh
# Shows the main job: installs into .venv on the first run, then plays the same task without and with DuoMem.
#
#   scripts/demo.sh [OPTIONS OF duomem-mlx demo]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/environment.sh"

environment "$root/.venv"
say "For the command duomem-mlx in this shell: . $root/.venv/bin/activate"
"$root/.venv/bin/duomem-mlx" demo "$@"
