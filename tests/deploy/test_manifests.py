"""What the schemas of Kubernetes and CloudFormation (`make validate`) do not say about the files in deploy/."""

from __future__ import annotations

import configparser
import email
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from instance_tool.local_service.socket import listen_private_socket
from nitro_attestation.key_policy.context import attestation_context, parse_caller
from nitro_attestation.key_policy.evaluation import AccessRequest, evaluate_policy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_attestation.key_policy.writing import ENCRYPT, attested_key_policy
from vsock_proxy.config.config_file import parse_config
from vsock_wire.errors import InputError
from vsock_wire.net.address import UnixAddress

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes/kmstool.yaml").read_text("utf-8")))
ROLE, ADMINISTRATOR = (f"arn:aws:iam::111122223333:role/{name}" for name in ("Instance", "Administrator"))
PCR0 = bytes(range(48))
NEXT_PCR0 = bytes(range(48, 96))
PARAMETERS: dict[str, str | list[str]] = {
    "Pcr0": [PCR0.hex(), NEXT_PCR0.hex()],
    "AdministratorArn": ADMINISTRATOR,
}
"""During a rolling change: from one image to the next."""
ATTRIBUTES = {"InstanceRole.Arn": ROLE}


def manifest(kind: str) -> dict[str, Any]:
    (found,) = (document for document in MANIFESTS if document["kind"] == kind)
    return dict(found)


POD = manifest("Deployment")["spec"]["template"]["spec"]
CONTAINERS: dict[str, dict[str, Any]] = {container["name"]: container for container in POD["containers"]}
INIT_CONTAINERS: list[dict[str, Any]] = POD.get("initContainers", [])
MODE_OF_EMPTY_DIR = 0o2777
"""With fsGroup, as the pod has it."""


class Template(yaml.SafeLoader):
    """Reads a template with its parameters and attributes filled in."""


Template.add_constructor("!Ref", lambda _loader, node: PARAMETERS.get(node.value, "a reference"))
Template.add_constructor("!GetAtt", lambda _loader, node: ATTRIBUTES.get(node.value, "an ARN"))
Template.add_constructor("!Sub", lambda _loader, node: node.value)
TEMPLATE = yaml.load((DEPLOY / "cloudformation/kmstool.yaml").read_text("utf-8"), Template)  # noqa: S506 - it is a SafeLoader


LAUNCH_TEMPLATES: dict[str, dict[str, Any]] = {
    name: resource["Properties"]["LaunchTemplateData"]
    for name, resource in TEMPLATE["Resources"].items()
    if resource["Type"] == "AWS::EC2::LaunchTemplate"
}


def user_data(name: str) -> str:
    return str(LAUNCH_TEMPLATES[name]["UserData"]["Fn::Base64"])


class TestKubernetes:
    def test_proxy_takes_its_configuration(self) -> None:
        text = manifest("ConfigMap")["data"]["vsock-proxy.yaml"]
        config = parse_config(text, source="ConfigMap")
        (route,) = config.routes
        assert (str(route.listen), str(route.destination)) == ("vsock://any:8000", "kms.us-east-1.amazonaws.com:443")

    def test_enclave_and_serve_agree_on_the_cid(self) -> None:
        environment = {entry["name"]: entry["value"] for entry in CONTAINERS["enclave"]["env"]}
        command = CONTAINERS["serve"]["command"]
        assert command[command.index("--cid") + 1] == environment["CID"]

    def test_enclave_has_the_huge_pages_that_its_memory_takes(self) -> None:
        environment = {entry["name"]: entry["value"] for entry in CONTAINERS["enclave"]["env"]}
        for resources in CONTAINERS["enclave"]["resources"].values():
            assert resources["hugepages-2Mi"] == f"{environment['MEMORY']}Mi"
            assert resources["aws.ec2.nitro/nitro_enclaves"] == "1"

    def test_program_finds_the_socket_of_serve_and_may_open_it(self) -> None:
        command, program = CONTAINERS["serve"]["command"], CONTAINERS["program"]
        socket = command[command.index("--socket") + 1]
        assert program["env"] == [{"name": "KMSTOOL_ENCLAVE", "value": f"unix:{socket}"}]
        assert "runAsUser" not in {**program["securityContext"], **CONTAINERS["serve"]["securityContext"]}
        assert program["volumeMounts"] == CONTAINERS["serve"]["volumeMounts"]

    def test_serve_takes_the_folder_that_the_pod_prepares(self, tmp_path: Path) -> None:
        user, command = POD["securityContext"]["runAsUser"], CONTAINERS["serve"]["command"]
        socket = Path(command[command.index("--socket") + 1])
        folder = tmp_path / "emptyDir"
        folder.mkdir()
        folder.chmod(MODE_OF_EMPTY_DIR)
        address = UnixAddress(str(folder / socket.name))
        with pytest.raises(InputError, match="is writable by other users"), listen_private_socket(address):
            pass
        here = {
            str(socket.parent): str(folder),
            f"--owner={user}": f"--owner={os.geteuid()}",
            f"--group={user}": f"--group={os.getegid()}",
        }
        for container in INIT_CONTAINERS:
            assert container["volumeMounts"] == CONTAINERS["serve"]["volumeMounts"]
            assert here.keys() <= set(container["command"])
            subprocess.run([here.get(word, word) for word in container["command"]], check=True)
        with listen_private_socket(address):
            assert folder.stat().st_mode & 0o777 == 0o700

    def test_only_what_gives_a_folder_to_a_user_is_added_to_an_init_containers_rights(self) -> None:
        for container in INIT_CONTAINERS:
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN", "FOWNER"]}
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert container["image"] == CONTAINERS["enclave"]["image"]

    @pytest.mark.parametrize("name", CONTAINERS)
    def test_container_has_no_more_rights_than_it_needs(self, name: str) -> None:
        context = CONTAINERS[name]["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context.get("readOnlyRootFilesystem", False) is (name != "enclave")
        assert {"limits", "requests"} == CONTAINERS[name]["resources"].keys()

    @pytest.mark.parametrize("name", CONTAINERS)
    def test_image_is_given_by_digest(self, name: str) -> None:
        assert re.fullmatch(r"EXAMPLE/[a-z-]+@sha256:[0-9a-f]{64}", CONTAINERS[name]["image"])

    def test_nothing_comes_in_and_only_names_https_and_pod_identity_go_out(self) -> None:
        policy = manifest("NetworkPolicy")["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert policy["ingress"] == []
        ports = [(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]]
        assert ports == [("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 80)]
        assert policy["podSelector"] == manifest("Deployment")["spec"]["selector"]


class TestCloudFormation:
    policy: dict[str, Any] = TEMPLATE["Resources"]["Key"]["Properties"]["KeyPolicy"]

    def test_key_policy_is_the_one_that_the_tool_writes(self) -> None:
        written = attested_key_policy(
            roles=[ROLE],
            administrators=[ADMINISTRATOR],
            pcrs=[{0: PCR0}, {0: NEXT_PCR0}],
            operations=["Decrypt", ENCRYPT],
        )
        assert json.loads(written) == self.policy

    @pytest.mark.parametrize(
        ("value", "is_taken"),
        [
            (PCR0.hex(), True),
            ("f" * 96, True),
            ("0" * 95 + "1", True),
            ("0" * 96, False),
            (PCR0.hex()[:-1], False),
            (PCR0.hex().upper(), False),
            ("0x" + PCR0.hex(), False),
        ],
    )
    def test_parameter_is_a_list_of_digests_that_are_not_zeros(self, value: str, is_taken: bool) -> None:
        parameter = TEMPLATE["Parameters"]["Pcr0"]
        assert parameter["Type"] == "CommaDelimitedList"
        assert (re.fullmatch(parameter["AllowedPattern"], value) is not None) is is_taken

    @pytest.mark.parametrize(
        ("caller", "pcr0", "is_allowed"),
        [
            (ROLE, PCR0, True),
            (ROLE, NEXT_PCR0, True),
            (ROLE, bytes(48), False),
            (ROLE, None, False),
            (ADMINISTRATOR, PCR0, False),
        ],
        ids=["with it", "with the next", "with another", "with none", "administrator"],
    )
    def test_only_the_role_with_the_enclaves_document_can_decrypt(
        self, caller: str, pcr0: bytes | None, is_allowed: bool
    ) -> None:
        context = {} if pcr0 is None else attestation_context({0: pcr0})
        request = AccessRequest(parse_caller(caller), "kms:Decrypt", None, context)
        assert evaluate_policy(parse_policy(json.dumps(self.policy)), request).is_allowed is is_allowed

    @pytest.mark.parametrize(
        "action",
        [
            "EnableKeyRotation",
            "DescribeKey",
            "GetKeyPolicy",
            "GetKeyRotationStatus",
            "ListResourceTags",
            "PutKeyPolicy",
        ],
    )
    @pytest.mark.parametrize(("caller", "is_allowed"), [(ADMINISTRATOR, True), (ROLE, False)], ids=["admin", "role"])
    def test_administrator_may_do_what_cloudformation_does_in_his_name(
        self, caller: str, is_allowed: bool, action: str
    ) -> None:
        request = AccessRequest(parse_caller(caller), f"kms:{action}", None, {})
        assert evaluate_policy(parse_policy(json.dumps(self.policy)), request).is_allowed is is_allowed

    def test_key_that_its_maker_could_not_manage_is_not_made(self) -> None:
        assert "BypassPolicyLockoutSafetyCheck" not in TEMPLATE["Resources"]["Key"]["Properties"]

    @pytest.mark.parametrize("name", LAUNCH_TEMPLATES)
    def test_instances_have_enclaves_and_imdsv2(self, name: str) -> None:
        data = LAUNCH_TEMPLATES[name]
        assert data["EnclaveOptions"] == {"Enabled": True}
        assert data["MetadataOptions"]["HttpTokens"] == "required"

    @pytest.mark.parametrize("name", LAUNCH_TEMPLATES)
    def test_allocator_is_configured_after_the_mark_that_it_reads_from(self, name: str) -> None:
        (line,) = (
            line for line in user_data(name).splitlines() if line.endswith("> /etc/nitro_enclaves/allocator.yaml")
        )
        shell = line.rpartition(">")[0].replace("${EnclaveCpus}", "2").replace("${EnclaveMemoryMib}", "512")
        written = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
        assert written.splitlines()[0] == "---"
        assert yaml.safe_load(written) == {"cpu_count": 2, "memory_mib": 512}

    def test_node_group_takes_the_launch_template_of_nodes(self) -> None:
        data = LAUNCH_TEMPLATES["NodeLaunchTemplate"]
        assert not {"IamInstanceProfile", "ImageId"} & data.keys()
        assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        message = email.message_from_string(user_data("NodeLaunchTemplate"))
        parts = [part for part in message.walk() if not part.is_multipart()]
        assert [part.get_content_type() for part in parts] == ["text/cloud-config", "text/x-shellscript"]
        install, script = (str(part.get_payload()) for part in parts)
        assert install.startswith("#cloud-config\n")
        assert yaml.safe_load(install) == {"bootcmd": ["dnf install -y aws-nitro-enclaves-cli"]}
        assert script.startswith("#!/bin/sh -eu\n")


UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_has_the_hardening_of_the_others(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # systemd's names have capitals
    parser.read_string(unit.read_text("utf-8"))
    service = dict(parser["Service"])
    assert (service["NoNewPrivileges"], service["ProtectSystem"], service["UMask"]) == ("yes", "strict", "0077")
    assert service["CapabilityBoundingSet"] == ""
    assert "AF_VSOCK" in service["RestrictAddressFamilies"]
    assert service.get("Restart") in ("always", "on-failure")


def test_enclave_is_terminated_by_its_launcher_and_not_by_systemd() -> None:
    assert "\nKillMode=mixed\n" in (DEPLOY / "systemd/kmstool-enclave.service").read_text("utf-8")
