#!/usr/bin/env bash
# The whole loop, from ALFWorld's games to the table of arms. Every stage resumes: the same command goes on.
#
#   scripts/reproduce.sh [--small] [--out DIR]
#
# --small   800 games to learn from and 24 valid_seen games to measure on: under 45 minutes on two cores
# --out     where everything goes (default runs/reproduce, runs/reproduce-small)
#
# ALFWorld's games are taken from $ALFWORLD_DATA, else ~/.cache/alfworld.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
small=no
out=
while [ $# -gt 0 ]; do
  case "$1" in
    --small) small=yes ;;
    --out) out=${2:?--out needs a folder}; shift ;;
    *) echo "reproduce.sh: unknown option $1; see the head of this script." >&2; exit 2 ;;
  esac
  shift
done

if [ "$small" = yes ]; then
  out=${out:-runs/reproduce-small}
  teach_games=(--limit 800)
  train_settings=(--epochs 1 --batch-size 8)
  valid_games=(--limit 24)
else
  out=${out:-runs/reproduce}
  teach_games=()
  train_settings=(--epochs 1 --batch-size 8)
  valid_games=()
fi

if [ -n "${DUOMEM:-}" ]; then
  duomem=$DUOMEM
elif [ -x "$here/.venv/bin/duomem-mlx" ]; then
  duomem=$here/.venv/bin/duomem-mlx
else
  duomem=duomem-mlx
fi
began=$(date +%s)
stage() { printf '\n== %s (%d min)\n' "$1" $((($(date +%s) - began) / 60)) >&2; }

stage "1/4 the teacher plays training games"
"$duomem" teach --teacher search --games train ${teach_games[@]+"${teach_games[@]}"} --out "$out/teach"

stage "2/4 its successes become memories"
if [ ! -e "$out/memories/bank.json" ]; then
  rm -rf "$out/bank"
  "$duomem" memories build "$out/teach/trajectories.jsonl" --out "$out/bank"
  "$duomem" memories export "$out/bank" --out "$out/memories"
fi

stage "3/4 its successes train an adapter"
"$duomem" train "$out/teach/trajectories.jsonl" "${train_settings[@]}" --memories "$out/memories" --out "$out/adapter"

stage "4/4 four arms play valid_seen"
"$duomem" evaluate --games valid_seen ${valid_games[@]+"${valid_games[@]}"} \
  --adapter "$out/adapter" --memories "$out/memories" --out "$out/results"

stage "done: $out/results/summary.json"
