"""Kinds of stores that connections lead to: which options each takes, which are secrets, what it must be let do.

Options are called as delta-rs and the object_store crate call them (``AmazonS3ConfigKey``, ``AzureConfigKey``,
``GoogleConfigKey``, ``ClientConfigKey``). What is not here cannot be said: some options name files of the server,
others switch the check of certificates off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class StorageOption:
    """An option of a store; ``is_secret`` ones are sealed or referred to, and shown to nobody."""

    name: str
    label: str
    is_secret: bool = False
    is_endpoint: bool = False
    is_switch: bool = False
    is_long: bool = False
    is_cluster: bool = False


SPARK_ADDRESS: Final = StorageOption("spark_connect_address", "Spark Connect address", is_cluster=True)
SPARK_TOKEN: Final = StorageOption(
    "spark_connect_token", "Token of the Spark cluster, and of Unity Catalog", is_secret=True
)
SPARK_OAUTH_ENDPOINT: Final = StorageOption(
    "spark_oauth_endpoint", "Where tokens of the two are given (OAuth)", is_endpoint=True
)
SPARK_OAUTH_CLIENT: Final = StorageOption("spark_oauth_client_id", "Client that they are given to")
SPARK_OAUTH_SECRET: Final = StorageOption(
    "spark_oauth_client_secret", "Secret of that client", is_secret=True
)
UNITY_CATALOG: Final = StorageOption(
    "unity_catalog_endpoint", "Unity Catalog that names its tables and gives their keys", is_endpoint=True
)
#: What every connection may have beside the options of its store: the cluster that reads its tables, and the catalogue
#: that names them. Both take one token, which stands there, or is given to a client each time that the last one ends.
OF_WORKSPACES: Final = (
    SPARK_ADDRESS, SPARK_TOKEN, SPARK_OAUTH_ENDPOINT, SPARK_OAUTH_CLIENT, SPARK_OAUTH_SECRET, UNITY_CATALOG,
)  # fmt: skip


@dataclass(frozen=True)
class StorageKind:
    """A kind of store. ``example`` is a root, ``permissions`` what a connection needs, by what is tried; ``of_store``
    are the options that the store is opened with.
    """

    value: str
    label: str
    begins_with: tuple[str, ...]
    example: str
    permissions: Mapping[str, str]
    of_store: tuple[StorageOption, ...] = ()

    @property
    def options(self) -> tuple[StorageOption, ...]:
        """Everything that a connection may say."""
        return (*self.of_store, *OF_WORKSPACES)

    def option(self, name: str) -> StorageOption | None:
        """The option of this name, if the kind has it."""
        return next((one for one in self.options if one.name == name), None)

    @property
    def plain(self) -> tuple[StorageOption, ...]:
        """The options that may be shown."""
        return tuple(one for one in self.options if not one.is_secret)

    @property
    def secret(self) -> tuple[StorageOption, ...]:
        """Those that may not."""
        return tuple(one for one in self.options if one.is_secret)


_ALLOW_HTTP = StorageOption("allow_http", "Let it be reached without TLS", is_switch=True)

LOCAL: Final = StorageKind(
    "local",
    "Folder of this server",
    ("/",),
    "/srv/tables",
    {
        "list": "the right to read and enter the folder",
        "read": "the right to read files",
        "write": "the right to create files",
        "delete": "the right to remove files",
    },
)
S3: Final = StorageKind(
    "s3",
    "S3, or a store that speaks S3",
    ("s3://",),
    "s3://lake/tables",
    {"list": "s3:ListBucket", "read": "s3:GetObject", "write": "s3:PutObject", "delete": "s3:DeleteObject"},
    (
        StorageOption("aws_region", "Region"),
        StorageOption("aws_endpoint_url", "Endpoint, where it is not AWS", is_endpoint=True),
        StorageOption("aws_virtual_hosted_style_request", "Bucket in the host name", is_switch=True),
        StorageOption("aws_server_side_encryption", "Encryption (aws:kms)"),
        StorageOption("aws_sse_kms_key_id", "Id of the KMS key"),
        StorageOption("aws_request_payer", "The asker pays", is_switch=True),
        _ALLOW_HTTP,
        StorageOption("aws_access_key_id", "Access key id", is_secret=True),
        StorageOption("aws_secret_access_key", "Secret access key", is_secret=True),
        StorageOption("aws_session_token", "Session token", is_secret=True),
    ),
)
GCS: Final = StorageKind(
    "gcs",
    "Google Cloud Storage",
    ("gs://",),
    "gs://lake/tables",
    {
        "list": "storage.objects.list",
        "read": "storage.objects.get",
        "write": "storage.objects.create",
        "delete": "storage.objects.delete",
    },
    (
        StorageOption(
            "google_service_account_key", "Key of the service account (JSON)", is_secret=True, is_long=True
        ),
    ),
)
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
AZURE: Final = StorageKind(
    "azure",
    "Azure Blob Storage or Data Lake",
    ("abfss://", "az://"),
    "abfss://container@account.dfs.core.windows.net/tables",
    {
        "list": f"{_BLOBS}/read",
        "read": f"{_BLOBS}/read",
        "write": f"{_BLOBS}/write and {_BLOBS}/add/action",
        "delete": f"{_BLOBS}/delete",
    },
    (
        StorageOption("azure_storage_account_name", "Storage account"),
        StorageOption("azure_storage_endpoint", "Endpoint, where it is another", is_endpoint=True),
        StorageOption("azure_storage_tenant_id", "Tenant of the application"),
        StorageOption("azure_storage_client_id", "Client id of the application"),
        _ALLOW_HTTP,
        StorageOption("azure_storage_account_key", "Account key", is_secret=True),
        StorageOption("azure_storage_client_secret", "Client secret of the application", is_secret=True),
        StorageOption("azure_storage_sas_key", "Shared access signature", is_secret=True),
    ),
)
KINDS: Final[Mapping[str, StorageKind]] = {one.value: one for one in (LOCAL, S3, GCS, AZURE)}


def kind_of_address(address: str) -> StorageKind | None:
    """The kind of store that a canonical address lies in; None for one that no connection leads to."""
    return next((one for one in KINDS.values() if address.startswith(one.begins_with)), None)
