"""kmstool-eif's commands, on files made here."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from instance_tool.eif.main import COMMANDS, command
from nitro_attestation.image.metadata import parse_metadata
from nitro_attestation.measurements import parse_measurements
from tests.support.images.container_archives import Item, docker_archive, folder, layer
from tests.support.images.image_files import image_bytes, signing_key
from vsock_wire.errors import InputError, ToolError

KEY = signing_key()
CMDLINE = "reboot=k panic=30\n"


def run(*args: str | Path, **environment: str) -> Result:
    """Run a command, and return its outcome; errors propagate."""
    return CliRunner(env=environment).invoke(
        command, [str(arg) for arg in args], catch_exceptions=False, standalone_mode=False
    )


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    folder = tmp_path / "blobs"
    folder.mkdir()
    for name, content in {"bzImage": b"kernel", "Image": b"arm kernel", "init": b"init", "nsm.ko": b"driver"}.items():
        (folder / name).write_bytes(content)
    (folder / "cmdline").write_text(CMDLINE)
    (folder / "bzImage.config").write_text("#\n#\n# Linux/x86_64 6.1.102 Kernel Configuration\n")
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    layers = [layer(folder("bin/"), Item("bin/app", mode=0o755, content=b"app"))]
    return docker_archive(tmp_path / "app.tar", layers, {"Cmd": ["/bin/app"], "Env": ["A=b"]})


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "app.eif"
    path.write_bytes(image_bytes(key=KEY))
    return path


def test_help_lists_every_command() -> None:
    listed = run("--help").output
    assert all(f"\n  {name} " in listed for name in COMMANDS)


class TestBuild:
    def test_same_image_gives_the_same_file_and_measure_the_same_pcrs(
        self, archive: Path, blobs: Path, tmp_path: Path
    ) -> None:
        outs = [tmp_path / name for name in ("one.eif", "two.eif")]
        printed = [run("build", archive, "--blobs", blobs, "--out", out).stdout for out in outs]
        assert outs[0].read_bytes() == outs[1].read_bytes()
        assert printed[0] == printed[1] == run("measure", archive, "--blobs", blobs).stdout
        described = run("describe", outs[0], "--output", "json").stdout
        assert parse_measurements(described.encode()) == parse_measurements(printed[0].encode())

    def test_signed_image_has_pcr8(self, archive: Path, blobs: Path, tmp_path: Path) -> None:
        key, certificate, out = tmp_path / "key.pem", tmp_path / "certificate.pem", tmp_path / "app.eif"
        key.write_bytes(KEY.private_key_pem)
        certificate.write_bytes(KEY.certificate_pem)
        signing = ("--private-key", key, "--signing-certificate", certificate)
        printed = run("build", archive, "--blobs", blobs, "--out", out, *signing).stdout
        assert set(parse_measurements(printed.encode())) == {0, 1, 2, 8}
        assert "signed       by CN=signer" in run("describe", out).stdout

    def test_metadata_name_the_kernel_and_the_image(self, archive: Path, blobs: Path, tmp_path: Path) -> None:
        run("build", archive, "--blobs", blobs, "--out", tmp_path / "app.eif", "--name", "mine")
        run("extract", tmp_path / "app.eif", "--to", tmp_path / "parts")
        metadata = parse_metadata((tmp_path / "parts" / "metadata.json").read_bytes())
        assert (metadata.name, metadata.kernel_version) == ("mine", "6.1.102")
        assert metadata.build_time == "2026-01-02T03:04:05Z"
        assert metadata.docker_info["Id"] == f"sha256:{metadata.version}"

    def test_source_date_epoch_is_the_build_time(self, archive: Path, blobs: Path, tmp_path: Path) -> None:
        out = tmp_path / "app.eif"
        run("build", archive, "--blobs", blobs, "--out", out, SOURCE_DATE_EPOCH="86400")
        assert "built        1970-01-02T00:00:00+00:00 by kmstool-eif" in run("describe", out).stdout
        with pytest.raises(InputError, match=r"^SOURCE_DATE_EPOCH: not a number"):
            run("build", archive, "--blobs", blobs, "--out", out, SOURCE_DATE_EPOCH="now")

    def test_folder_is_built_with_the_command_that_is_given(self, blobs: Path, tmp_path: Path) -> None:
        root = tmp_path / "rootfs"
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "app").write_text("app")
        options = ("--arg", "/bin/app", "--arg", "--flag", "--env", "A=b", "--root-owner", "--arch", "arm64")
        out = tmp_path / "app.eif"
        run("build", root, "--blobs", blobs, "--out", out, *options)
        assert "for arm64" in run("describe", out).stdout
        run("extract", out, "--to", tmp_path / "parts")
        assert (tmp_path / "parts" / "kernel").read_bytes() == b"arm kernel"
        assert b"/bin/app\n--flag\n" in (tmp_path / "parts" / "ramdisk2.cpio").read_bytes()

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (("--arg", "/x"), "--arg, --env and --root-owner are for a folder"),
            (("--arch", "arm64"), "--arch arm64: the image is for amd64"),
            (("--private-key", "k"), "--signing-certificate is missing"),
            (("--signing-certificate", "c"), "--private-key is missing"),
        ],
    )
    def test_options_that_contradict_are_refused(
        self, options: tuple[str, ...], reason: str, archive: Path, blobs: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match=reason):
            run("build", archive, "--blobs", blobs, "--out", tmp_path / "app.eif", *options)
        assert not (tmp_path / "app.eif").exists()

    def test_missing_files_of_aws_are_all_named(self, archive: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError) as raised:
            run("build", archive, "--out", tmp_path / "app.eif", NITRO_CLI_BLOBS=str(tmp_path / "empty"))
        assert all(name in str(raised.value) for name in ("bzImage", "cmdline", "init", "nsm.ko"))
        assert raised.value.hint is not None
        assert "aws-nitro-enclaves-cli-devel" in raised.value.hint

    def test_failure_leaves_the_old_file_and_no_other(self, archive: Path, blobs: Path, tmp_path: Path) -> None:
        out = tmp_path / "out" / "app.eif"
        out.parent.mkdir()
        out.write_bytes(b"old")
        (blobs / "cmdline").write_text("two\nlines")
        with pytest.raises(ToolError, match=r"command line: not one line"):
            run("build", archive, "--blobs", blobs, "--out", out)
        assert list(out.parent.iterdir()) == [out]
        assert out.read_bytes() == b"old"

    def test_folder_without_a_command_says_what_to_give(self, blobs: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"^--arg: a folder does not say which program to start$"):
            run("build", tmp_path, "--blobs", blobs, "--out", tmp_path / "app.eif")

    def test_warning_is_on_standard_error_alone(self, blobs: Path, tmp_path: Path) -> None:
        start = {"Cmd": ["/x"], "Entrypoint": ["/y"]}
        path = docker_archive(tmp_path / "both.tar", [layer(Item("x"))], start)
        result = run("measure", path, "--blobs", blobs)
        assert "warning: ENTRYPOINT is ignored" in result.stderr
        assert json.loads(result.stdout)["Measurements"]


class TestDescribe:
    def test_damaged_file_exits_1_and_is_described_all_the_same(self, image: Path) -> None:
        data = bytearray(image.read_bytes())
        data[700] ^= 1
        image.write_bytes(data)
        result = run("describe", image)
        assert result.exit_code == 1
        assert "WRONG: the file is damaged" in result.stdout

    @pytest.mark.parametrize("content", [b"", b"not an image", b".eif"])
    def test_other_file_is_named_in_the_error(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "other"
        path.write_bytes(content)
        with pytest.raises(ToolError, match=rf"^{path}: (magic|header): "):
            run("describe", path)

    def test_missing_file_and_pipe_are_usage_errors(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"missing: no such file or directory$"):
            run("describe", tmp_path / "missing")
        with pytest.raises(InputError, match=r"is a directory$"):
            run("describe", tmp_path)


class TestExtract:
    def test_parts_have_the_bytes_of_the_sections(self, image: Path, tmp_path: Path) -> None:
        printed = run("extract", image, "--to", tmp_path / "parts").stdout.split()
        names = [
            "kernel",
            "cmdline",
            "metadata.json",
            "ramdisk1.cpio",
            "ramdisk2.cpio",
            "signature.cbor",
            "certificate.pem",
        ]
        assert printed == [str(tmp_path / "parts" / name) for name in names]
        assert (tmp_path / "parts" / "ramdisk2.cpio").read_bytes() == b"second" * 70
        assert (tmp_path / "parts" / "certificate.pem").read_bytes() == KEY.certificate_pem

    def test_file_in_the_way_is_a_usage_error(self, image: Path) -> None:
        with pytest.raises(InputError, match=r"^--to: "):
            run("extract", image, "--to", image)


class TestDiff:
    def test_same_files_print_nothing(self, image: Path) -> None:
        assert run("diff", image, image).stdout == ""

    def test_differences_exit_1(self, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        other = tmp_path / "other.eif"
        other.write_bytes(image_bytes())
        with pytest.raises(SystemExit) as raised:
            command(["diff", str(image), str(other)], standalone_mode=False)
        assert raised.value.code == 1
        assert capsys.readouterr().out == "section 5: signature, then none\n"


class TestPolicy:
    ROLES = ("--role", "arn:aws:iam::111122223333:role/I", "--admin", "arn:aws:iam::111122223333:role/A")

    def test_policy_is_the_one_for_the_files_measurements(self, image: Path, tmp_path: Path) -> None:
        from instance_tool.main import command as instance_command

        measurements = tmp_path / "measurements.json"
        measurements.write_text(run("describe", image, "--output", "json").stdout)
        arguments = ["policy", "--measurements", str(measurements), *self.ROLES]
        expected = CliRunner().invoke(instance_command, arguments, catch_exceptions=False).stdout
        assert run("policy", image, *self.ROLES).stdout == expected
        assert "kms:RecipientAttestation:PCR8" in expected

    def test_two_files_are_a_rolling_change(self, image: Path, tmp_path: Path) -> None:
        from dataclasses import replace

        from tests.support.images.image_files import PARTS

        other = tmp_path / "next.eif"
        other.write_bytes(image_bytes(replace(PARTS, cmdline="quiet"), KEY))
        text = run("policy", image, other, *self.ROLES).stdout
        assert all(
            parse_measurements(run("describe", path, "--output", "json").stdout.encode())[0].hex() in text
            for path in (image, other)
        )

    def test_damaged_file_gives_no_policy(self, image: Path) -> None:
        data = bytearray(image.read_bytes())
        data[700] ^= 1
        image.write_bytes(data)
        with pytest.raises(ToolError, match=r"CRC: the file is damaged"):
            run("policy", image, *self.ROLES)


def test_unknown_command_is_refused() -> None:
    with pytest.raises(click.UsageError, match=r"No such command"):
        run("descrbe")
