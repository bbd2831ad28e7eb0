"""What the process itself says: signals, a full disk, a narrow encoding, what git refuses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import benchmark.cli.options
import benchmark.cli.work
from benchmark.records.checkout import unnamed
from invoking import MINI, said

ASK = "import time, sys; sys.stderr.write('there'); sys.stderr.flush(); time.sleep(60)"
RUN = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests' own process ignores
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import benchmark.cli as cli, sys, types
module = types.ModuleType("benchmark.cli.app")
def app(): exec({ASK!r})
module.app = app
sys.modules["benchmark.cli.app"] = module
cli.main()
"""


@pytest.mark.parametrize(("name", "times"), [("SIGINT", 3), ("SIGTERM", 1), ("SIGHUP", 2)])
def test_a_signal_says_how_to_go_on(name, times):
    """One line without a traceback and the shell's code, however often one is asked to stop."""
    number = getattr(signal, name)
    with subprocess.Popen([sys.executable, "-c", RUN], stderr=subprocess.PIPE) as process:
        assert process.stderr.read(5) == b"there"
        for _ in range(times):
            process.send_signal(number)
            time.sleep(0.001)
        last = process.stderr.read().decode()
    assert last == "stopped; the same command continues where this one was\n"
    assert process.returncode == 128 + number


def python(*arguments: object, **options: object) -> "subprocess.CompletedProcess[bytes]":
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "benchmark", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_a_full_disk_is_one_line():
    """What standard output does not take is said once, with exit code 2."""
    with Path("/dev/full").open("wb") as full:
        done = python("list", stdout=full)
    assert (done.returncode, done.stderr) == (2, b"error: No space left on device\n")


def test_a_closed_standard_output_is_no_failure():
    """What is printed is lost, and nothing else."""
    done = python("list", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_narrow_encoding_loses_signs_only(tmp_path):
    """In KOI8-R, which has no ±, a table shows question marks; its files are whole."""
    places = ("--results", tmp_path, "--artifacts", tmp_path)
    environment = os.environ | {"PYTHONIOENCODING": "koi8-r", "PYTHONUTF8": "0"}
    table = ("table1", "--scale", MINI, "--collect", *places)
    done = python(*table, stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0
    shown, whole = done.stdout.decode("koi8-r"), said(*table).stdout
    assert shown == whole.encode("koi8-r", "replace").decode("ascii") != whole
    assert "±" in (tmp_path / "tables" / "table1-mini.md").read_text()


def test_git_says_nothing_for_three_reasons(tmp_path, monkeypatch):
    """No checkout, no git, and another user's checkout are told apart, whatever git is set up to."""
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    assert "is no git checkout" in (unnamed(tmp_path) or "")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (
        ("init", "--quiet"),
        (*identity, "commit", "--quiet", "--allow-empty", "-m", "x"),
    ):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    assert unnamed(tmp_path) is None
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert f"safe.directory {tmp_path}` lets it" in (unnamed(tmp_path) or "")
    monkeypatch.setenv("PATH", "")
    assert "install it" in (unnamed(tmp_path) or "")


def test_records_without_a_commit_are_told_of(tmp_path, monkeypatch):
    """Before work, since `submit` would say it after."""
    monkeypatch.setattr(benchmark.cli.options, "unnamed", lambda: "there is no git; install it")
    monkeypatch.setattr(benchmark.cli.work, "sweep", lambda *given: [])
    places = ("--results", tmp_path, "--artifacts", tmp_path)
    answer = said("table1", "--scale", MINI, "--jobs", "1", *places).good()
    assert "remark: records will name no commit" in answer.stderr.splitlines()[0]


@pytest.mark.parametrize("place", ["~/results", "~/other/results"])
def test_the_home_folder(tmp_path, monkeypatch, place):
    """`~` in a flag, and in an environment variable, is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BENCHMARK_RESULTS", place)
    said("table1", "--scale", MINI, "--collect").good()
    assert (tmp_path / place[2:] / "tables" / "table1-mini.md").is_file()
    assert "no such home folder" in said("status", "--results", "~nobody-at-all/x").refusal
