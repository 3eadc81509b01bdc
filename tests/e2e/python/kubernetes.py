"""What a manifest of Kubernetes has the server do: kubernetes.py FILE. Prints it as JSON."""

import json
import sys

import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    objects = {each["kind"]: each for each in yaml.safe_load_all(file)}
pod = objects["Deployment"]["spec"]["template"]["spec"]
[container] = pod["containers"]
probes = ("startupProbe", "livenessProbe", "readinessProbe")
told = {
    "settings": objects["ConfigMap"]["data"]["stentor.toml"],
    "probes": [container[probe]["exec"]["command"] for probe in probes],
    "grace": pod["terminationGracePeriodSeconds"],
    "before": container["lifecycle"]["preStop"]["sleep"]["seconds"],
    "user": pod["securityContext"]["runAsUser"],
}
print(json.dumps(told))
