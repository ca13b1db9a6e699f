"""The Helm chart, as Helm reads it: ``python -m tests.deploy.check_chart`` (``make test-chart``).

Takes Helm from the PATH, else builds it once with Go into var/tools/bin (five minutes). The chart is linted, then
written out with three sets of values, and what comes out is looked at: every volume that is mounted is there, every
container is as confined as the image allows, every selector finds its pods.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from config.env import BASE_DIR
from tests.deploy.reading import DEPLOY

HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
CHART = DEPLOY / "helm" / "headgate"
VALUES: tuple[list[str], ...] = (
    [],
    ["--set", "ingress.enabled=true,ingress.tlsSecret=tls,networkPolicy.enabled=true,web.replicas=3"],
    [
        *("--set", "data.root=s3://lake/headgate,data.persistence.enabled=false,serviceAccount.create=false"),
        *("--set", "environment.EMAIL_URL=smtp://mail:25,imagePullSecrets[0].name=registry"),
    ],
)


def helm() -> str:
    """Where Helm is. Raises ``FileNotFoundError`` without it and without Go."""
    own = BASE_DIR / "var" / "tools" / "bin"
    found = shutil.which("helm", path=f"{os.defpath}:{own}")
    if found is None:
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
        if go is None:
            raise FileNotFoundError("Neither Helm nor Go is installed (https://helm.sh, https://go.dev).")
        subprocess.run([go, "install", HELM], env={**os.environ, "GOBIN": str(own)}, check=True)
        found = str(own / "helm")
    return found


def written(program: str, values: list[str]) -> list[dict[str, Any]]:
    """The objects that the chart makes of some values."""
    command = [program, "template", "release", str(CHART), "--kube-version", "1.30.0", *values]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def faults(objects: list[dict[str, Any]]) -> Iterator[str]:
    """What Kubernetes would refuse, or nobody wants."""
    pods = {
        f"{one['kind']} {one['metadata']['name']}": one["spec"]["template"]
        for one in objects
        if one["kind"] in ("Deployment", "Job")
    }
    labels = [pod["metadata"]["labels"].items() for pod in pods.values()]
    for name, pod in pods.items():
        spec = pod["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        if not spec["securityContext"]["runAsNonRoot"]:
            yield f"{name} may run as root"
        for container in spec["containers"]:
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            if mounted != volumes:
                yield f"{name} mounts {mounted} of {volumes}"
            confined = container["securityContext"]
            if confined["allowPrivilegeEscalation"] or not confined["readOnlyRootFilesystem"]:
                yield f"{name} is not confined"
            variables = [one["name"] for one in container["env"]]
            if len(set(variables)) != len(variables):
                yield f"{name} is told a variable twice: {variables}"
    for one in objects:
        spec = one.get("spec") or {}
        selector = spec.get("selector") or spec.get("podSelector") or {}
        wanted = selector.get("matchLabels", selector)
        if wanted and not any(wanted.items() <= found for found in labels):
            yield f"{one['kind']} {one['metadata']['name']} finds no pod"
    if not {"Deployment", "Service", "Job", "PodDisruptionBudget"} <= {one["kind"] for one in objects}:
        yield "an object is missing"


def main() -> int:
    program = helm()
    subprocess.run([program, "lint", "--strict", "--quiet", str(CHART)], check=True)
    found = [f"{values}: {fault}" for values in VALUES for fault in faults(written(program, values))]
    sys.stdout.write("\n".join([*found, f"{len(VALUES)} sets of values, {len(found)} faults"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
