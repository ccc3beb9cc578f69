"""Makes a pod out of a Job or CronJob, for podman: `kubectl kustomize ... | pod.py [ARGUMENT...]`.

Prints it, and the ConfigMaps beside it. The pod is the Job's template as it is, but for its name, and for
the arguments if any are given. YAML is read by kubectl, which needs no cluster for it.
"""

import json
import subprocess
import sys


def objects(yaml):
    patch = ["kubectl", "patch", "--local", "--filename", "-", "--type", "merge", "--patch", "{}", "--output", "json"]
    text = subprocess.run(patch, input=yaml, capture_output=True, check=True, text=True).stdout.strip()
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        found, end = decoder.raw_decode(text[at:])
        yield found
        at += end + len(text[at + end :]) - len(text[at + end :].lstrip())


def pod(job, arguments):
    template = job["spec"]["template"]
    if arguments:
        template["spec"]["containers"][0]["args"] = arguments
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "treewarden"}, "spec": template["spec"]}


for found in objects(sys.stdin.read()):
    if found["kind"] == "ConfigMap":
        print(json.dumps(found), "\n---")
    elif found["kind"] == "CronJob":
        print(json.dumps(pod(found["spec"]["jobTemplate"], sys.argv[1:])), "\n---")
    elif found["kind"] == "Job":
        print(json.dumps(pod(found, sys.argv[1:])), "\n---")
