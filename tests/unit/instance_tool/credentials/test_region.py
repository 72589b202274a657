from __future__ import annotations

import logging
from pathlib import Path

import pytest

from instance_tool.credentials.region import REGION_PATH, Region, RegionSource, region_source
from tests.support.instance.scripted_imds import Answer, ScriptedImds
from vsock_wire.errors import InputError

CONFIG = """\
# comment
[default]
region = eu-north-1

[profile other]
output = json
s3 =
    region = us-west-1
region=eu-west-2
[profile "with blanks"]
region = eu-west-3
[profile none]
output = json
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config").write_text(CONFIG)
    return {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }


class TestOrder:
    def test_option_then_variables_then_configuration_then_profile(self, environ: dict[str, str]) -> None:
        environ |= {"AWS_REGION": "us-west-1", "AWS_DEFAULT_REGION": "us-west-2"}
        configured = Region("ca-west-1", "config.toml")
        assert RegionSource("us-east-2", environ, configured=lambda: configured).known() == ("us-east-2", "--region")
        assert RegionSource(None, environ, configured=lambda: configured).known() == ("us-west-1", "AWS_REGION")
        environ["AWS_REGION"] = ""
        assert RegionSource(None, environ, configured=lambda: configured).known() == ("us-west-2", "AWS_DEFAULT_REGION")
        del environ["AWS_DEFAULT_REGION"]
        assert RegionSource(None, environ, configured=lambda: configured).known() == configured
        assert RegionSource(None, environ).known() == ("eu-north-1", "profile default")

    @pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", None])
    def test_profile_is_the_one_that_credentials_come_from(self, environ: dict[str, str], variable: str | None) -> None:
        if variable:
            environ[variable] = "other"
        source = RegionSource(None, environ, profile=None if variable else "other")
        assert source.known() == ("eu-west-2", "profile other")

    def test_profile_of_the_option_wins(self, environ: dict[str, str]) -> None:
        environ["AWS_PROFILE"] = "other"
        assert RegionSource(None, environ, profile="with blanks").known() == ("eu-west-3", "profile with blanks")

    def test_region_in_the_credentials_file_wins_over_the_config_file(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "credentials").write_text("[other]\nregion = us-gov-west-1\n")
        assert RegionSource(None, environ, profile="other").known() == ("us-gov-west-1", "profile other")
        assert RegionSource(None, environ).known() == ("eu-north-1", "profile default")

    @pytest.mark.parametrize("profile", ["none", "not there"])
    def test_profile_without_a_region_gives_none(self, environ: dict[str, str], profile: str) -> None:
        assert RegionSource(None, environ, profile=profile).known() is None

    def test_default_files_are_in_the_home_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws/config").write_text(CONFIG)
        assert RegionSource(None, {}).known() == ("eu-north-1", "profile default")

    def test_source_without_an_environment_gives_only_what_it_was_given(self) -> None:
        assert RegionSource(None).known() is None
        assert RegionSource(None).look_up() is None
        assert region_source("eu-west-1").known() == ("eu-west-1", "--region")
        assert region_source("").known() is None
        with pytest.raises(TypeError, match=r"^region: expected a string"):
            region_source(5)  # type: ignore[arg-type] # what is tested


class TestFaults:
    @pytest.mark.parametrize("text", ["us-east-1a", "us-east", "s3", "", "us-east-1.evil.example", "\u00fcs-east-1"])
    def test_name_that_can_be_no_region_is_refused_and_its_origin_named(self, text: str) -> None:
        with pytest.raises(InputError, match=r"^--region: expected the name of an AWS region, got ") as caught:
            RegionSource(text).known()
        assert "an availability zone" in (caught.value.hint or "")

    def test_profile_with_such_a_name_is_named(self, environ: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "config").write_text("[default]\nregion = Frankfurt\n")
        with pytest.raises(InputError, match=r"^profile default: expected the name of an AWS region"):
            RegionSource(None, environ).known()

    @pytest.mark.parametrize("content", [b"region = x", b"[default\n", b"\xff\xfe", b"[default]\n" + b"#" * 1_048_576])
    def test_file_that_cannot_be_read_is_reported_and_has_no_region(
        self, environ: dict[str, str], tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "config").write_bytes(content)
        with caplog.at_level(logging.WARNING):
            assert RegionSource(None, environ).known() is None
        (record,) = caplog.records
        assert "config" in record.getMessage()

    def test_duplicate_sections_and_keys_do_not_matter(self, environ: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "config").write_text("[default]\na=1\na=2\n[default]\nregion = eu-west-1\n")
        assert RegionSource(None, environ).known() == ("eu-west-1", "profile default")


class TestImds:
    def test_is_asked_only_by_look_up(self, imds: ScriptedImds, environ: dict[str, str]) -> None:
        imds.answers[("GET", REGION_PATH)] = Answer(b"ap-south-2\n")
        source = RegionSource(None, {**environ, **imds.environ}, profile="none")
        assert source.known() is None
        assert imds.requests == []
        assert source.look_up() == ("ap-south-2", "IMDS")

    @pytest.mark.parametrize(
        "answer", [Answer(b"", 404), Answer(b"us-east-1a"), Answer(b"\xff"), Answer(b"x" * 70_000)]
    )
    def test_other_answers_give_none(self, imds: ScriptedImds, answer: Answer) -> None:
        imds.answers[("GET", REGION_PATH)] = answer
        assert RegionSource(None, imds.environ).look_up() is None

    def test_is_asked_only_once(self, imds: ScriptedImds) -> None:
        imds.answers[("GET", REGION_PATH)] = Answer(b"ap-south-2")
        source = RegionSource(None, imds.environ)
        assert source.look_up() == source.look_up() == ("ap-south-2", "IMDS")
        assert [request.path for request in imds.requests].count(REGION_PATH) == 1

    def test_silence_costs_one_deadline_and_gives_none(
        self, imds: ScriptedImds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("instance_tool.credentials.region.IMDS_TIMEOUT_S", 0.1)
        imds.answers[("GET", REGION_PATH)] = Answer(None)
        assert RegionSource(None, imds.environ).look_up() is None

    def test_disabled_imds_gives_none(self) -> None:
        assert RegionSource(None, {"AWS_EC2_METADATA_DISABLED": "true"}).look_up() is None
