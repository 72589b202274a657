"""Options of the verify command that are given more than once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from instance_tool.main import command
from tests.support.attestation.documents import PCRS, make_document, measurements
from tests.support.instance.verifying import root_file, verify
from vsock_wire.errors import InputError, ToolError


@pytest.fixture
def root(tmp_path: Path) -> str:
    return root_file(tmp_path)


class TestSeveralImages:
    """During a rolling change, a document may come from the old image or from the new one."""

    OLD_PCRS: ClassVar[dict[int, bytes]] = {0: b"\x07" * 48, 1: PCRS[1], 2: b"\x08" * 48}

    @pytest.fixture
    def files(self, tmp_path: Path) -> list[str]:
        (tmp_path / "old.json").write_text(json.dumps(measurements(self.OLD_PCRS)))
        (tmp_path / "new.json").write_text(json.dumps(measurements(PCRS)))
        return ["--expect", str(tmp_path / "old.json"), "--expect", str(tmp_path / "new.json")]

    @pytest.mark.parametrize("is_reversed", [False, True])
    def test_document_of_any_of_them_is_verified(
        self, tmp_path: Path, root: str, files: list[str], *, is_reversed: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = files[2:] + files[:2] if is_reversed else files
        for pcrs in (PCRS, self.OLD_PCRS):
            verify(tmp_path, make_document(pcrs=pcrs), "--root", root, *options)
            assert "PCR0, PCR1, PCR2" in capsys.readouterr().out

    def test_document_of_another_image_is_refused_and_the_hint_says_that_none_fits(
        self, tmp_path: Path, root: str, files: list[str]
    ) -> None:
        with pytest.raises(ToolError, match=f"PCR0: expected {'07' * 48}, got {'09' * 48}") as error:
            verify(tmp_path, make_document(pcrs={0: b"\x09" * 48}), "--root", root, *files)
        assert error.value.hint == "none of the 2 files of --expect fits; this compares the first"

    def test_mixture_of_two_images_is_refused(self, tmp_path: Path, root: str, files: list[str]) -> None:
        mixed = {**PCRS, 2: self.OLD_PCRS[2]}
        with pytest.raises(ToolError, match="attestation document: PCR0: expected"):
            verify(tmp_path, make_document(pcrs=mixed), "--root", root, *files)

    def test_pcr_option_counts_for_each_of_them(self, tmp_path: Path, root: str, files: list[str]) -> None:
        for pcrs in (PCRS, self.OLD_PCRS):
            document = make_document(pcrs={**pcrs, 3: b"\x03" * 48})
            verify(tmp_path, document, "--root", root, *files, "--pcr", f"3={'03' * 48}")
            with pytest.raises(ToolError, match="attestation document: PCR"):
                verify(tmp_path, document, "--root", root, *files, "--pcr", f"3={'04' * 48}")
            with pytest.raises(InputError, match=r"^--pcr 0: differs from the value in --expect$"):
                verify(tmp_path, document, "--root", root, *files, "--pcr", f"0={PCRS[0].hex()}")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--at", "document"),
        ("--nonce", "ab"),
        ("--user-data", "ab"),
        ("--public-key", "-"),
        ("--root", "-"),
        ("--max-age", "60"),
        ("--leeway", "60"),
    ],
)
def test_second_value_of_an_option_that_decides_is_refused(option: str, value: str) -> None:
    with pytest.raises(InputError, match=rf"^{option} can be given only once$"):
        command(
            args=["verify", "FILE", option, value, option, value], prog_name="kmstool-instance", standalone_mode=False
        )


def test_two_files_of_measurements_cannot_both_be_standard_input() -> None:
    with pytest.raises(InputError, match=r"^--expect: only one of them can be standard input$"):
        command(
            args=["verify", "FILE", "--expect", "-", "--expect", "-"],
            prog_name="kmstool-instance",
            standalone_mode=False,
        )
