#!/bin/sh
# The whole loop on ScienceWorld, by the same commands as on the household: installs into .venv, then teach, memories,
# train, evaluate, report. Every stage resumes: the same command goes on where it stopped. Needs Java 8 or newer.
#
#   scripts/reproduce_scienceworld.sh [--plan] [--out DIR]
#
# --plan    stop before training and say what it will take
# --out     where everything goes (default runs/reproduce-scienceworld)
#
# Twelve tasks whose gold paths are short: up to 60 training variations of each to learn from, 5 test variations of each
# to measure on, with the package's "easy" simplifications and 30 actions a game.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/environment.sh"

plan=""
out=runs/reproduce-scienceworld
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --plan) plan=yes ;;
    --out)
      case ${2-} in "" | -*) fail "--out needs a folder after it." ;; esac
      out=$2
      shift
      ;;
    *) fail "reproduce_scienceworld.sh knows no $1: its options are --plan and --out DIR." ;;
  esac
  shift
done
"${JAVA_HOME:+$JAVA_HOME/bin/}java" -version >/dev/null 2>&1 ||
  fail "ScienceWorld needs Java 8 or newer (macOS: brew install openjdk; Debian, Ubuntu: sudo apt install" \
    "default-jre-headless): install it and run this again."

environment "$root/.venv" scienceworld,report
duomem=$root/.venv/bin/duomem-mlx
began=$(date +%s)
stage() { say "" && say "== $1 (after $((($(date +%s) - began) / 60)) min)"; }

stage "1/5  gold paths of training games are played, and kept where they win"
"$duomem" teach --env scienceworld --teacher gold --games train:short:60 --max-steps 30 --out "$out/teach"

stage "2/5  they become memories"
if [ ! -f "$out/memories/bank.json" ]; then
  [ -d "$out/bank" ] || "$duomem" memories build "$out/teach/trajectories.jsonl" --env scienceworld --out "$out/bank"
  "$duomem" memories export "$out/bank" --out "$out/memories"
fi

stage "3/5  they train an adapter"
"$duomem" train "$out/teach/trajectories.jsonl" --env scienceworld --memories "$out/memories" --k 2 \
  --batch-size 2 --epochs 1 ${plan:+--plan} --out "$out/adapter"
[ -z "$plan" ] || exit 0

stage "4/5  four arms play test variations"
"$duomem" evaluate --env scienceworld --games test:short:5 --max-steps 30 --batch-size 12 --k 2 \
  --arm base --arm memories --arm adapter --arm duomem \
  --adapter "$out/adapter" --memories "$out/memories" --out "$out/results" ||
  say "Not all games went well, see above; the report is of what there is."

stage "5/5  the report"
"$duomem" report "$out/results"

stage "done: everything is in $out, the figures in $out/results/summary.json"
