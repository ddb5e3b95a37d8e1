"""The command line: Envoy's flags, the environment, and what is refused."""

from pathlib import Path

import pytest

from meshproxy.cli.concurrency import derive_concurrency
from meshproxy.cli.flags import build_parser, parse_flags

# `envoy --help` of version 1.40.
ENVOYS_FLAGS = """\
admin-address-path allow-unknown-fields allow-unknown-static-fields base-id base-id-path component-log-level concurrency
config-path config-yaml cpuset-threads disable-extensions disable-hot-restart drain-strategy drain-time-s
enable-core-dump enable-fine-grain-logging enable-mutex-tracing file-flush-interval-msec file-flush-min-size-kb help
hot-restart-version ignore-unknown-dynamic-fields local-address-ip-version log-format log-format-escaped log-level
log-path log-stacktrace-single-entry mode parent-shutdown-time-s reject-unknown-dynamic-fields restart-epoch
service-cluster service-node service-zone skip-deprecated-logs skip-hot-restart-on-no-parent
skip-hot-restart-parent-stats socket-mode socket-path stats-tag use-dynamic-base-id version
"""


def test_all_of_envoys_flags_are_known() -> None:
    parser, _ = build_parser({})
    known = {option for action in parser._actions for option in action.option_strings}
    assert {f"--{flag}" for flag in ENVOYS_FLAGS.split()} == {option for option in known if option.startswith("--")}
    assert {"-c", "-l", "-h"} < known


def test_defaults() -> None:
    options = parse_flags(["-c", "x.yaml"], {})
    assert (options.concurrency, options.drain_time, options.drain_strategy) == (1, 600.0, "gradual")
    assert (options.file_flush_interval, options.file_flush_min_size) == (10.0, 65536)
    assert options.ignored == ()


def test_the_command_line_wins_over_the_environment() -> None:
    environment = {
        "MESHPROXY_CONFIG_PATH": "env.yaml",
        "MESHPROXY_DRAIN_TIME_S": "5",
        "MESHPROXY_LOG_LEVEL": "debug",
        "MESHPROXY_ALLOW_UNKNOWN_FIELDS": "true",
        "MESHPROXY_STATS_TAG": "a:1,b:2",
        "MESHPROXY_SERVICE_HOST": "10.0.0.1",
    }
    options = parse_flags(["--drain-time-s", "7"], environment)
    assert (options.config_path, options.drain_time, options.log_level) == ("env.yaml", 7.0, "debug")
    assert options.allow_unknown_static_fields
    assert options.stats_tags == (("a", "1"), ("b", "2"))


def test_flags_without_effect_are_named() -> None:
    options = parse_flags(["-c", "x", "--enable-mutex-tracing", "--enable-core-dump", "--use-dynamic-base-id"], {})
    assert options.ignored == ("--enable-mutex-tracing", "--enable-core-dump")
    assert options.use_dynamic_base_id


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ([], {}),
        (["-c", "x", "--drain-strategy", "slow"], {}),
        (["-c", "x", "--drain-time-s", "-1"], {}),
        (["-c", "x", "--drain-time-s", "१"], {}),
        (["-c", "x", "--config-pat", "y"], {}),
        (["-c", "x", "--stats-tag", "a.b"], {}),
        (["-c", "x", "--stats-tag", "a:1", "--stats-tag", "a:2"], {}),
        (["-c", "x", "--reject-unknown-dynamic-fields", "--ignore-unknown-dynamic-fields"], {}),
        (["-c", "x"], {"MESHPROXY_MODE": "sing"}),
        (["-c", "x"], {"MESHPROXY_CONCURRENCY": "many"}),
        (["-c", "x"], {"MESHPROXY_ENABLE_CORE_DUMP": "perhaps"}),
    ],
)
def test_bad_usage(arguments: list[str], environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_flags(arguments, environment)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def _group(tmp_path: Path, **files: str) -> tuple[Path, Path]:
    process = tmp_path / "cgroup"
    process.write_text("0::/pod/app\n")
    for name, text in files.items():
        path = tmp_path / "fs" / name.replace("__", "/").replace("cpu_max", "cpu.max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "fs", process


@pytest.mark.parametrize(
    ("quota", "workers"), [("150000 100000", 2), ("50000 100000", 1), ("100000 100000", 1), ("max 100000", 8)]
)
def test_concurrency_from_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, workers: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    root, process = _group(tmp_path, pod__app__cpu_max=quota)
    assert derive_concurrency(root, process)[0] == workers


def test_concurrency_from_the_first_version_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    folder = tmp_path / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_quota_us").write_text("250000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert derive_concurrency(tmp_path, tmp_path / "none") == (3, "CPU quota of the control group (2.5)")


def test_concurrency_without_limits_is_the_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 3})
    assert derive_concurrency(tmp_path, tmp_path / "none") == (2, "CPU affinity (2)")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--concurency", "2"], "there is no flag '--concurency'; did you mean '--concurrency'?"),
        (["--drain-time=3"], "there is no flag '--drain-time'; did you mean '--drain-time-s'?"),
        (["envoy.yaml"], "'envoy.yaml' belongs to no flag"),
    ],
)
def test_a_flag_that_there_is_not(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_flags(arguments, {})
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert said in text
    assert len(text.splitlines()) == 3
