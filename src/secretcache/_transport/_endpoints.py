"""What botocore's own endpoint data says of Secrets Manager. Imports botocore."""

from __future__ import annotations

import functools
import os
from typing import Any

from botocore.loaders import create_loader

__all__ = ["regions_with_fips"]


@functools.cache
def regions_with_fips() -> frozenset[str]:
    """The regions that have a FIPS host. The rules botocore resolves hosts by make one up for every region."""
    data: Any = create_loader(os.environ.get("AWS_DATA_PATH")).load_data("endpoints")
    return frozenset(
        region
        for partition in data["partitions"]
        for region, endpoint in partition["services"].get("secretsmanager", {}).get("endpoints", {}).items()
        if any("fips" in variant["tags"] for variant in endpoint.get("variants", ()))
    )
