"""Benchmark and reproduction suite for Robust Critical Fine-Tuning (RiFT, ICCV 2023).

Read `run.py` first: it is the paper from top to bottom for one cell. `cells`, `scales` and `plans`
say what there is to make, `training`, `attacks`, `rift` and `evaluation` how, `store` and `records`
where numbers live and what they know of themselves, `tables`, `audit`, `figures` and `render` what is
shown, `sweep` and `work` how many cells are made at once, `cli` what a person types. The readings of
the paper are named in `rift.presets`; `official_code` says where its released code differs.
Adversarial-training methods are in the package `baselines`.
"""
