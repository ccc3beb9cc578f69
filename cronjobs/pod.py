"""Makes a pod out of a Job or CronJob, for podman: `kubectl kustomize ... | pod.py [ARGUMENT...]`.

Prints it, and the ConfigMaps beside it. The pod is the Job's template as it is, but for its name, and for the
arguments if any are given. Secrets become ConfigMaps, for podman 4.3 mounts them undecoded. YAML is read by
kubectl, which needs no cluster for it.
"""

import base64
import json
import subprocess
import sys


def objects(yaml):
    patch = ["kubectl", "patch", "--local", "--filename=-", "--type=merge", "--patch={}", "--output=json"]
    text = subprocess.run(patch, input=yaml, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    while text:
        found, end = json.JSONDecoder().raw_decode(text)
        yield found
        text = text[end:].lstrip()


def opened(secret):
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": secret["metadata"], "data": data}


def pod(job, arguments):
    spec = job["spec"]["template"]["spec"]
    if arguments:
        spec["containers"][0]["args"] = arguments
    for volume in spec["volumes"]:
        if "secret" in volume:
            volume["configMap"] = {"name": volume.pop("secret")["secretName"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "treewarden"}, "spec": spec}


makes = {
    "ConfigMap": lambda found: found,
    "Secret": opened,
    "CronJob": lambda found: pod(found["spec"]["jobTemplate"], sys.argv[1:]),
    "Job": lambda found: pod(found, sys.argv[1:]),
}
for found in objects(sys.stdin.read()):
    if found["kind"] in makes:
        print(json.dumps(makes[found["kind"]](found)), "\n---")
