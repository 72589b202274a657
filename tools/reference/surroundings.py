"""What each program reads besides its command line: environment variables and files. Tests check the lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Entries: TypeAlias = Mapping[str, str]
"""Descriptions, by the name of a variable or the path of a file."""

_AWS_CREDENTIALS: Entries = {
    "AWS_ACCESS_KEY_ID": "With AWS_SECRET_ACCESS_KEY: the AWS credentials to use.",
    "AWS_SECRET_ACCESS_KEY": "See AWS_ACCESS_KEY_ID.",
    "AWS_SESSION_TOKEN": "The session token, if the credentials are temporary.",
}
_OPTION_DEFAULTS: Entries = {
    "REGION": "Default of --region.",
    "PROXY_PORT": "Default of --proxy-port.",
    "ENDPOINT": "Default of --endpoint.",
}
_TERMINAL: Entries = {
    "NO_COLOR": "If set, no colors are printed.",
    "TERM": "If dumb, no colors are printed.",
}
ENVIRONMENT: Mapping[str, Entries] = {
    "kmstool-eif": {
        "NITRO_CLI_BLOBS": "Folder with AWS's kernel, cmdline, init and nsm.ko. --blobs overrides it.",
        "SOURCE_DATE_EPOCH": "Build time in the metadata, in seconds since 1970. Default: the container image's own.",
        "TMPDIR": "Where to unpack compressed layers.",
        **_TERMINAL,
    },
    "kmstool-enclave": {**_OPTION_DEFAULTS, **_TERMINAL},
    "kmstool-enclave-cli": {**_OPTION_DEFAULTS, **_AWS_CREDENTIALS, **_TERMINAL},
    "kmstool-instance": {
        "KMSTOOL_ENCLAVE": "CID or address of the enclave. --enclave, --cid and --enclave-name override it.",
        "KMSTOOL_CID": "CID of the enclave. The same options override it.",
        "AWS_REGION": "Region of KMS, if the enclave sets none. --region overrides it.",
        "AWS_DEFAULT_REGION": "Same, if AWS_REGION is not set.",
        "XDG_CONFIG_HOME": "Folder of kmstool/config.toml. Default: ~/.config.",
        "HOME": "Folder that ~ stands for.",
        **_AWS_CREDENTIALS,
        "AWS_PROFILE": "Take credentials from this profile, through boto3. --profile overrides it.",
        "AWS_DEFAULT_PROFILE": "Same, if AWS_PROFILE is not set.",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "Take credentials from the credential chain and do not ask IMDS.",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "Same.",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "Same.",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "Token for the container's credentials.",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "File with that token, without a line break.",
        "AWS_METADATA_SERVICE_TIMEOUT": "Number of seconds; read by boto3 for a profile whose source is IMDS.",
        "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "Number of attempts; same.",
        "AWS_MAX_ATTEMPTS": "Number of attempts of boto3 at STS and SSO.",
        "AWS_CONFIG_FILE": "Read instead of ~/.aws/config.",
        "AWS_SHARED_CREDENTIALS_FILE": "Read instead of ~/.aws/credentials.",
        "AWS_EC2_METADATA_DISABLED": "If true, do not ask IMDS.",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": "Where IMDS listens. Default: http://169.254.169.254.",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv4 (the default), or IPv6 for http://[fd00:ec2::254].",
        **_TERMINAL,
    },
    "kmstool-sim": {
        "PATH": "run: searched for PROGRAM, after the folder of kmstool's own programs.",
        "TMPDIR": "Where to make the folder for sockets and files. Keep it short: they hold unix sockets.",
        **_TERMINAL,
    },
    "vsock-proxy": {
        "NOTIFY_SOCKET": "Set by systemd: where to report that the proxy is ready, reloading or stopping.",
        "WATCHDOG_USEC": "Set by systemd: how often to report that the proxy is alive, in microseconds.",
        "WATCHDOG_PID": "Set by systemd: the process that WATCHDOG_USEC is for.",
        "LISTEN_FDS": "Set by systemd: number of listening sockets passed by a socket unit.",
        "LISTEN_PID": "Set by systemd: the process that LISTEN_FDS is for.",
        "LISTEN_FDNAMES": "Set by systemd: names of the sockets. Removed, not used.",
        **_TERMINAL,
    },
}
"""``kmstool-sim run`` also sets variables for the program that it runs: docs/reference/simulator.md."""

_ENCLAVE_FILES: Entries = {
    "/dev/nsm": "The Nitro Security Module. --nsm overrides it.",
    "/dev/vsock": "The vsock device of the enclave's kernel.",
}
FILES: Mapping[str, Entries] = {
    "kmstool-eif": {
        "/usr/share/nitro_enclaves/blobs": "AWS's files for images, unless --blobs names another folder.",
    },
    "kmstool-enclave": {
        **_ENCLAVE_FILES,
        "/dev/random": "Gets random bytes from the Nitro Security Module at the start, before any key is generated.",
    },
    "kmstool-enclave-cli": {
        **_ENCLAVE_FILES,
        "/dev/random": "Gets random bytes from the Nitro Security Module at the start, before any key is generated.",
    },
    "kmstool-instance": {
        "/dev/vsock": "The vsock device of the parent instance.",
        "~/.config/kmstool/config.toml": "Defaults for options, under the names of their flags, in TOML.",
        "~/.aws/config": "Profiles: their regions, and, through boto3, their credentials.",
        "~/.aws/credentials": "Credentials by profile, read by boto3.",
    },
    "kmstool-sim": {
        "/tmp": "Holds sockets and files until the simulator stops, unless --state names another folder.",  # noqa: S108 - text
    },
    "vsock-proxy": {
        "/etc/nitro_enclaves/vsock-proxy.yaml": "Allowlist and routes, unless --config names another file.",
        "/dev/vsock": "The vsock device of the parent instance.",
    },
}
