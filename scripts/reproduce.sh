#!/bin/sh
# The whole loop, from ALFWorld's games to the table of arms: installs into .venv, then teach, memories, train,
# evaluate. Every stage resumes: the same command goes on where it stopped.
#
#   scripts/reproduce.sh [--small] [--out DIR]
#
# --small   800 games to learn from and 24 valid_seen games to measure on: 44 minutes on two cores
# --out     where everything goes (default runs/reproduce, with --small runs/reproduce-small)
#
# ALFWorld's games are taken from $ALFWORLD_DATA, else ~/.cache/alfworld.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/environment.sh"

small=""
out=""
while [ $# -gt 0 ]; do
  case $1 in
    --small) small=yes ;;
    --out)
      [ $# -gt 1 ] || fail "--out needs a folder after it."
      out=$2
      shift
      ;;
    *) fail "reproduce.sh knows no $1: its options are --small and --out DIR." ;;
  esac
  shift
done
has_games || fail "There are no ALFWorld games in ${ALFWORLD_DATA:-$HOME/.cache/alfworld}: get them with" \
  "\`duomem-mlx games fetch\`, or set ALFWORLD_DATA to where they are."

out=${out:-runs/reproduce${small:+-small}}
environment "$root/.venv"
duomem=$root/.venv/bin/duomem-mlx
began=$(date +%s)
stage() { say "" && say "== $1 (after $((($(date +%s) - began) / 60)) min)"; }

stage "1/4  the teacher plays training games"
"$duomem" teach --teacher search --games train ${small:+--limit 800} --out "$out/teach"

stage "2/4  its successes become memories"
if [ ! -f "$out/memories/bank.json" ]; then
  [ -d "$out/bank" ] || "$duomem" memories build "$out/teach/trajectories.jsonl" --thin 1 --out "$out/bank"
  "$duomem" memories export "$out/bank" --out "$out/memories"
fi

stage "3/4  its successes train an adapter"
"$duomem" train "$out/teach/trajectories.jsonl" --memories "$out/memories" --k 2 --batch-size 4 --held-out 0.03 \
  --half --out "$out/adapter"

stage "4/4  four arms play valid_seen"
"$duomem" evaluate --games valid_seen ${small:+--limit 24} --batch-size 24 \
  --adapter "$out/adapter" --memories "$out/memories" --k 2 --out "$out/results"

stage "done: everything is in $out, the figures in $out/results/summary.json"
