"""Misconfigurations of boto3's credential chain, and what is to be said of each."""

from __future__ import annotations

from pathlib import Path

ROLE = "arn:aws:iam::111122223333:role/r"
KEYS = "[profile keys]\naws_access_key_id = AKIDKEYS\naws_secret_access_key = theKeysSecret\n"
HERE = "http://127.0.0.1:1/"


def process(command: str) -> str:
    return f"[profile p]\ncredential_process = {command}\n"


def role(settings: str) -> str:
    return f"{KEYS}[profile p]\nrole_arn = {ROLE}\nregion = us-east-1\n{settings}\n"


Case = tuple[dict[str, str], str, str, str, str]
P = {"AWS_PROFILE": "p"}
URI = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": HERE}
WEB = {"AWS_WEB_IDENTITY_TOKEN_FILE": "line", "AWS_ROLE_ARN": ROLE, "AWS_REGION": "us-east-1"}
CASES: dict[str, Case] = {
    # name: variables, config file, provider, variable, part of the reason
    "missing profile": ({"AWS_PROFILE": "no"}, "", "settings", "AWS_PROFILE", 'there is no profile "no"'),
    "missing default profile": (
        {"AWS_DEFAULT_PROFILE": "no"}, "", "settings", "AWS_DEFAULT_PROFILE", "there is no profile"
    ),
    "binary config file": ({"AWS_CONFIG_FILE": "binary"}, "", "settings", "AWS_CONFIG_FILE", "Unable to parse"),
    "config file without sections": (P, "a = b\n", "settings", "AWS_CONFIG_FILE", "Unable to parse"),
    "binary credentials file": (
        {"AWS_SHARED_CREDENTIALS_FILE": "binary"}, "", "settings", "AWS_SHARED_CREDENTIALS_FILE", "Unable to parse"
    ),
    "timeout that is not a number": (
        {"AWS_METADATA_SERVICE_TIMEOUT": "soon"}, "", "settings", "AWS_METADATA_SERVICE_TIMEOUT", "not valid"
    ),
    "attempts that are not a number": (
        {**P, "AWS_MAX_ATTEMPTS": "x"}, role("source_profile = keys"), "assume-role", "AWS_MAX_ATTEMPTS", "not valid"
    ),
    "endpoint mode": (
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv5"},
        "", "settings", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "Invalid EC2",
    ),
    "address that is not link-local": (
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x"},
        "", "container-role", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "not a loopback or link-local address",
    ),
    "link-local address of nobody": (
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.1.1/x"},
        "", "container-role", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "not a loopback or link-local address",
    ),
    "no address": (
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "nonsense"},
        "", "container-role", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "not a loopback or link-local address",
    ),
    "address without a port": (
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:port/"},
        "", "container-role", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "",
    ),
    "relative address": (
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "x y"},
        "", "container-role", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "not a loopback or link-local address",
    ),
    "nothing listens": (URI, "", "container-role", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "Could not connect"),
    "token file with a newline": (
        {**URI, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "line"},
        "", "container-role", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "the token has a line break",
    ),
    "binary token file": (
        {**URI, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "binary"},
        "", "container-role", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "not UTF-8",
    ),
    "missing token file": (
        {**URI, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "no"},
        "", "container-role", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", '"no": no such file or directory',
    ),
    "token with a newline": (
        {**URI, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "theToken\n"},
        "", "container-role", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "the token has a line break",
    ),
    "missing web identity file": (
        {**WEB, "AWS_WEB_IDENTITY_TOKEN_FILE": "no"},
        "", "assume-role-with-web-identity", "AWS_WEB_IDENTITY_TOKEN_FILE", '"no": no such file or directory',
    ),
    "folder for a web identity file": (
        {**WEB, "AWS_WEB_IDENTITY_TOKEN_FILE": "."},
        "", "assume-role-with-web-identity", "AWS_WEB_IDENTITY_TOKEN_FILE", '".": is a directory',
    ),
    "binary web identity file": (
        {**WEB, "AWS_WEB_IDENTITY_TOKEN_FILE": "binary"},
        "", "assume-role-with-web-identity", "AWS_WEB_IDENTITY_TOKEN_FILE", "not UTF-8",
    ),
    "web identity without a role": (
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "line"}, "", "assume-role-with-web-identity", "AWS_ROLE_ARN", "role ARN"
    ),
    "web identity with a short role": (
        {**WEB, "AWS_ROLE_ARN": "x"},
        "", "assume-role-with-web-identity", "AWS_WEB_IDENTITY_TOKEN_FILE", "Invalid length for parameter RoleArn",
    ),
    "web identity without STS": (
        WEB, "", "assume-role-with-web-identity", "AWS_WEB_IDENTITY_TOKEN_FILE", "Could not connect"
    ),
    "process that prints text": (P, process("echo theSecret"), "custom-process", "AWS_PROFILE", "did not print"),
    "process that prints nothing": (P, process("true"), "custom-process", "AWS_PROFILE", "did not print"),
    "process that prints a list": (P, process("echo '[1]'"), "custom-process", "AWS_PROFILE", "did not print"),
    "process that prints bytes": (P, process("cat binary"), "custom-process", "AWS_PROFILE", "did not print"),
    "process that prints a time that is none": (
        P,
        process("""echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"theSecret","Expiration":"soon"}'"""),
        "custom-process", "AWS_PROFILE", "did not print",
    ),
    "process that prints expired credentials": (
        P,
        process("""echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s","Expiration":"2001-01-01T00:00:00Z"}'"""),
        "custom-process", "AWS_PROFILE", "",
    ),
    "process that prints a number for a key": (
        P, process("""echo '{"Version":1,"AccessKeyId":5,"SecretAccessKey":null}'"""),
        "custom-process", "AWS_PROFILE", "the access key id is empty or has characters",
    ),
    "process that fails": (
        P, process("sh -c 'echo theSecret >&2; exit 3'"), "custom-process", "AWS_PROFILE", "or failed"
    ),
    "process that fails with bytes": (
        P, process("sh -c 'cat binary >&2; exit 3'"), "custom-process", "AWS_PROFILE", "or failed"
    ),
    "process that is not there": (P, process("/no/such"), "custom-process", "AWS_PROFILE", '"/no/such": no such file'),
    "process that is not a program": (P, process("./line"), "custom-process", "AWS_PROFILE", '"./line": permission'),
    "process with an open quote": (P, process("echo 'x"), "custom-process", "AWS_PROFILE", "the command is not valid"),
    "process without a command": (P, process(""), "custom-process", "AWS_PROFILE", "the command is not valid"),
    "process that is a table": (P, process("\n  a = b"), "custom-process", "AWS_PROFILE", "the command is not valid"),
    "half a profile": (
        P, "[profile p]\naws_access_key_id = A\n", "config-file", "AWS_PROFILE", "missing: aws_secret_access_key"
    ),
    "loop of source profiles": (
        P,
        f"[profile p]\nrole_arn={ROLE}\nsource_profile=q\n[profile q]\nrole_arn={ROLE}\nsource_profile=p\n",
        "assume-role", "AWS_PROFILE", "Infinite loop",
    ),
    "missing source profile": (P, role("source_profile = no"), "assume-role", "AWS_PROFILE", "does not exist"),
    "source that is none": (P, role("credential_source = Nope"), "assume-role", "AWS_PROFILE", "not valid"),
    "role without a source": (P, role(""), "assume-role", "AWS_PROFILE", "missing: source_profile"),
    "role without STS": (P, role("source_profile = keys"), "assume-role", "AWS_PROFILE", "Could not connect"),
    "role with MFA": (
        P, role("source_profile = keys\nmfa_serial = x"), "assume-role", "AWS_PROFILE", "a code of an MFA device"
    ),
    "SSO without a token": (
        P,
        "[profile p]\nsso_start_url=https://x\nsso_region=us-east-1\nsso_account_id=111122223333\nsso_role_name=r\n",
        "sso", "AWS_PROFILE", "Error loading SSO Token",
    ),
    "SSO without its session": (
        P, "[profile p]\nsso_session=no\nsso_account_id=111122223333\nsso_role_name=r\n",
        "sso", "AWS_PROFILE", "sso-session does not exist",
    ),
    "login": (P, "[profile p]\nlogin_session=arn:aws:iam::111122223333:user/x\n", "login", "AWS_PROFILE", ""),
    "binary file of the old EC2 tools": (
        {"AWS_CREDENTIAL_FILE": "binary"}, "", "ec2-credentials-file", "AWS_CREDENTIAL_FILE", "not UTF-8"
    ),
    "binary file of boto 2": ({"BOTO_CONFIG": "binary"}, "", "boto-config", "BOTO_CONFIG", "Unable to parse"),
    "default profile": (
        {}, "[default]\ncredential_process = true\n", "custom-process", "AWS_CONFIG_FILE", "did not print"
    ),
}  # fmt: skip


def write_files(folder: Path) -> None:
    """Write the files that the cases name by relative paths, and that no provider expects."""
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "line").write_text("theToken\n")
