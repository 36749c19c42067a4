#!/bin/sh
# The whole loop, from ALFWorld's games to the table of arms: installs into .venv, then teach, memories, train,
# evaluate, report. Every stage resumes: the same command goes on where it stopped.
#
#   scripts/reproduce.sh [--small | --seed N] [--out DIR]
#
# Two cores with AVX-512 need seconds to teach, about an hour for each of the two passes of training, at most 34 minutes
# for the arms, and up to two hours for the untrained student's 40 games: about four and a half hours. Each of these
# stages was run to its end (both passes with seeds 1 and 2), but not one after the other in one go. Without AVX-512
# training takes three times as long, and play five times.
#
# --small   800 games to learn from, and four arms on 24 valid_seen games: 51 minutes on two cores without AVX-512
# --seed    stops after training, in another draw than the usual 0: DIR/first-seedN, and from it DIR/adapter-seedN
# --out     where everything goes (default runs/reproduce, with --small runs/reproduce-small)
#
# ALFWorld's games are taken from $ALFWORLD_DATA, else ~/.cache/alfworld.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/environment.sh"

small=""
seed=0
out=""
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --small) small=yes ;;
    --seed)
      case ${2-} in "" | *[!0-9]* | 0* | ??????????*) fail "--seed needs a number from 1 on, of at most nine digits." ;; esac
      seed=$2
      shift
      ;;
    --out)
      case ${2-} in "" | -*) fail "--out needs a folder after it." ;; esac
      out=$2
      shift
      ;;
    *) fail "reproduce.sh knows no $1: its options are --small, --seed N and --out DIR." ;;
  esac
  shift
done
[ -z "$small" ] || [ "$seed" = 0 ] || fail "--small has one seed: leave out one of the two."
has_games || fail "There are no ALFWorld games in ${ALFWORLD_DATA:-$HOME/.cache/alfworld}: get them with" \
  "\`duomem-mlx games fetch\`, or set ALFWORLD_DATA to where they are."

out=${out:-runs/reproduce${small:+-small}}
environment "$root/.venv" report
duomem=$root/.venv/bin/duomem-mlx
won='import json, sys; print(json.load(open(sys.argv[1]))["arms"]["base"]["won"])'
stages=$([ -n "$small" ] && echo 4 || echo 5)
began=$(date +%s)
stage() { say "" && say "== $1 (after $((($(date +%s) - began) / 60)) min)"; }

stage "1/$stages  the teacher plays training games"
"$duomem" teach --teacher search --games train ${small:+--limit 800} --out "$out/teach"

stage "2/$stages  its successes become memories"
if [ ! -f "$out/memories/bank.json" ]; then
  [ -d "$out/bank" ] || "$duomem" memories build "$out/teach/trajectories.jsonl" --thin 1 --out "$out/bank"
  "$duomem" memories export "$out/bank" --out "$out/memories"
fi

stage "3/$stages  its successes train an adapter"
mark=$([ "$seed" = 0 ] || echo "-seed$seed")
learn() {
  "$duomem" train "$@" --memories "$out/memories" --k 2 --batch-size 4 --held-out 0.03 --half --seed "$seed"
}
if [ -n "$small" ]; then
  learn "$out/teach/trajectories.jsonl" --out "$out/adapter"
else
  learn "$out/teach/trajectories.jsonl" --out "$out/first$mark"
  say "… and a second pass, over games in which the teacher is made to stumble"
  "$duomem" teach --teacher search --games train --stumbles 0.15 --out "$out/stumbles"
  learn "$out/stumbles/trajectories.jsonl" --adapter "$out/first$mark" --epochs 1 --learning-rate 0.0005 \
    --out "$out/adapter$mark"
fi
if [ -n "$mark" ]; then
  stage "done: the adapter of seed $seed is $out/adapter$mark"
  exit 0
fi

measured=$out/results
ladder() {
  "$duomem" evaluate --games valid_seen ${small:+--limit 24} --batch-size 24 "$@" \
    --adapter "$out/adapter" --memories "$out/memories" --k 2 --out "$measured"
  "$duomem" report "$measured" --adapter "$out/adapter" --memories "$out/memories"
}
set -- --arm base --arm memories --arm adapter --arm duomem
[ -n "$small" ] || set -- "$@" --arm random-memories
stage "4/$stages  all arms play valid_seen"
ladder "$@"

if [ -z "$small" ]; then
  stage "5/$stages  the bare student plays training games, for memories of its own"
  # in chat, with instructions: in the short text of the trained one it says hardly anything to act on
  "$duomem" evaluate --games train --limit 40 --arm base --adapter none --memories none --prompt-style chat \
    --batch-size 24 --out "$out/own-games"
  own=$("$root/.venv/bin/python" -c "$won" "$out/own-games/summary.json")
  if [ "$own" -gt 0 ]; then
    say "It won $own of them: all arms play again, and one with memories of these."
    [ -d "$out/own-bank" ] ||
      "$duomem" memories build "$out/own-games/episodes/base" --thin 1 --out "$out/own-bank"
    measured=$out/results-with-own
    ladder "$@" --arm own-memories --own-memories "$out/own-bank"
  else
    say "It won none of them: there is nothing of its own to remember, and the arm own-memories is base."
  fi
fi

stage "done: everything is in $out, the figures in $measured/summary.json, a page in $measured/report.html"
[ -n "$small" ] || say "docs/results takes them with
  \"$root/.venv/bin/python\" \"$root/scripts/make_results.py\" own \"$out/own-games\"
  \"$root/.venv/bin/python\" \"$root/scripts/make_results.py\" valid_seen \"$measured\" \\
    --adapter \"$out/adapter\" --memories \"$out/memories\""
