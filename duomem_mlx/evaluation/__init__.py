"""Evaluation: arms, games, statistics, and the results folder."""
