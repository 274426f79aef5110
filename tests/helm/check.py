"""Renders the Helm chart with Helm's own engine and checks the result.

Usage: check.py POSTERN, where POSTERN is the program: it checks the configuration that the pods get.
Kubernetes' own objects are checked strictly against its schemas, those of KEDA and of the Prometheus
operator by reading them into typed models and writing them back: a field that the model does not know is lost.
"""

import copy
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import helm_python as helm
import kubernetes_validate
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "postern"
# The oldest version that the chart allows, and the newest with schemas.
KUBERNETES = ["1.30", "1.37"]
MODELS = {
    "ScaledObject": keda.ScaledObject,
    "TriggerAuthentication": keda.TriggerAuthentication,
    "PodMonitor": prometheus.PodMonitor,
    "PrometheusRule": prometheus.PrometheusRule,
}
# The values set by the chart that KEDA's scaler for RabbitMQ reads.
SCALER = {"protocol": {"amqp"}, "mode": {"QueueLength"}, "value": None, "queueName": None}
POSTERN = None


def values(name):
    return yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())


def render(given):
    """The objects that the chart renders with `values`, by kind and name."""
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render(given, name="sms", namespace="messaging")
    found = {}
    for path, text in rendered.items():
        if not path.endswith(".yaml"):
            continue
        for document in filter(None, yaml.safe_load_all(text)):
            key = (document["kind"], document["metadata"]["name"])
            assert key not in found, f"{key} is there twice"
            found[key] = document
    return found


def pods(objects):
    """The pods' descriptions, by the name of the object that they belong to."""
    kinds = ("StatefulSet", "Deployment")
    found = {name: o["spec"]["template"] for (kind, name), o in objects.items() if kind in kinds}
    return found | {name: o for (kind, name), o in objects.items() if kind == "Pod"}


class Chart(unittest.TestCase):
    def refused(self, change, words):
        """Checks that with `change` in the values the chart renders nothing and says why."""
        given = copy.deepcopy(values("small"))
        change(given)
        with self.assertRaises(helm.HelmError) as refused:
            render(given)
        for word in words:
            self.assertIn(word, str(refused.exception))

    def test_helm_finds_nothing_to_complain_of(self):
        for name in ("small", "large", "bare"):
            report = helm.lint(CHART, values(name), strict=True)
            # The only remark is that there is no icon, which a chart does not need.
            remarks = [m["error"] for m in report["messages"] if m["error"] != "icon is recommended"]
            self.assertEqual((report["errors"], remarks), ([], []), name)

    def test_every_object_is_one_that_kubernetes_takes(self):
        kinds = set()
        for name in ("small", "large", "bare"):
            for (kind, of), document in render(values(name)).items():
                with self.subTest(values=name, kind=kind, name=of):
                    kinds.add(kind)
                    if kind in MODELS:
                        read = MODELS[kind].model_validate(copy.deepcopy(document))
                        written = read.model_dump(by_alias=True, exclude_unset=True, mode="json")
                        self.assertEqual(written, document)
                    else:
                        for version in KUBERNETES:
                            kubernetes_validate.validate(document, version, strict=True)
        core = {"ConfigMap", "Secret", "ServiceAccount", "Service", "StatefulSet", "Deployment", "Pod", "Ingress"}
        self.assertEqual(kinds, core | {"PodDisruptionBudget", "NetworkPolicy"} | set(MODELS))

    def test_a_field_that_nobody_knows_is_found(self):
        objects = render(values("large"))
        scaled = copy.deepcopy(objects["ScaledObject", "sms-postern-dispatcher-clinic"])
        scaled["spec"]["minReplicas"] = 1
        written = keda.ScaledObject.model_validate(copy.deepcopy(scaled)).model_dump(by_alias=True, exclude_unset=True)
        self.assertNotEqual(written, scaled)
        ingress = copy.deepcopy(objects["StatefulSet", "sms-postern-ingress"])
        ingress["spec"]["replica"] = 1
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(ingress, KUBERNETES[-1], strict=True)

    def test_every_pod_is_restricted(self):
        for name in ("small", "large", "bare"):
            for of, pod in pods(render(values(name))).items():
                with self.subTest(values=name, pod=of):
                    spec = pod["spec"]
                    self.assertFalse(spec["automountServiceAccountToken"])
                    self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                    self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                    for container in spec["containers"]:
                        allowed = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
                        self.assertEqual(container["securityContext"], allowed | {"capabilities": {"drop": ["ALL"]}})
                        self.assertIn("memory", container["resources"]["limits"])
                        self.assertRegex(container["image"], r":[0-9]")

    def test_the_pods_configuration_is_one_that_postern_takes(self):
        for name in ("small", "large", "bare"):
            objects = render(values(name))
            text = objects["ConfigMap", "sms-postern"]["data"]["postern.toml"]
            for of, pod in pods(objects).items():
                container = pod["spec"]["containers"][0]
                environment = {e["name"]: e["value"] for e in container.get("env", [])}
                if container["args"][0] == "health":
                    continue
                with self.subTest(values=name, pod=of), tempfile.TemporaryDirectory() as folder:
                    file = pathlib.Path(folder) / "postern.toml"
                    file.write_text(text)
                    environment["POSTERN_CONFIG"] = str(file)
                    environment.pop("SSL_CERT_FILE", None)
                    ran = subprocess.run(
                        [POSTERN, "check", "--strict", "--without-secrets"],
                        env=environment, capture_output=True, text=True, check=False,
                    )
                    self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
                    for words in (["--help"], [container["args"][0], "--help"]):
                        self.assertEqual(subprocess.run([POSTERN, *words], capture_output=True, check=False).returncode, 0)

    def test_what_belongs_together_has_the_same_names(self):
        objects = render(values("large"))
        labels = {name: pod["metadata"]["labels"] for name, pod in pods(objects).items()}
        for (kind, name), document in objects.items():
            selector = document.get("spec", {}).get("selector")
            if kind in ("Service", "StatefulSet", "Deployment", "PodDisruptionBudget", "PodMonitor") and selector:
                selector = selector.get("matchLabels", selector)
                chosen = [of for of, has in labels.items() if selector.items() <= has.items()]
                self.assertTrue(chosen, f"{kind} {name} selects no pod")
                if kind in ("StatefulSet", "Deployment"):
                    self.assertEqual(chosen, [name])
        ports = {p["name"] for pod in pods(objects).values() for p in pod["spec"]["containers"][0].get("ports", [])}
        self.assertEqual(ports, {"http", "admin"})
        self.assertEqual(objects["StatefulSet", "sms-postern-ingress"]["spec"]["serviceName"], "sms-postern-ingress-pods")
        for (kind, name), document in objects.items():
            if kind == "ScaledObject":
                self.assertIn(("Deployment", document["spec"]["scaleTargetRef"]["name"]), objects)
                self.assertNotIn("replicas", objects["Deployment", name]["spec"])
                self.assertGreaterEqual(document["spec"]["minReplicaCount"], 1)
                for trigger in document["spec"]["triggers"]:
                    self.assertIn(("TriggerAuthentication", trigger["authenticationRef"]["name"]), objects)
                    self.assertEqual(set(trigger["metadata"]), set(SCALER))
                    for key, allowed in SCALER.items():
                        self.assertTrue(allowed is None or trigger["metadata"][key] in allowed)
        queues = [
            trigger["metadata"]["queueName"]
            for (kind, _), document in objects.items() if kind == "ScaledObject"
            for trigger in document["spec"]["triggers"]
        ]
        lanes = [f"postern.outbound.{backend}{lane}" for backend in ("clinic", "ward") for lane in ("", ".bulk")]
        self.assertEqual(sorted(queues), sorted(lanes))

    def test_the_alerts_are_those_of_prometheus(self):
        files = [yaml.safe_load(f.read_text()) for f in sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))]
        wanted = [group for file in files for group in file["groups"]]
        rule = render(values("large"))["PrometheusRule", "sms-postern"]
        page = "https://example.org/postern/docs/operations.md#"
        for group in wanted:
            for alert in group["rules"]:
                alert["annotations"]["runbook_url"] = alert["annotations"]["runbook_url"].replace("docs/operations.md#", page)
        self.assertEqual(rule["spec"]["groups"], wanted)
        # The alerts look for this job.
        monitor = render(values("large"))["PodMonitor", "sms-postern"]
        self.assertEqual(monitor["spec"]["jobLabel"], "app.kubernetes.io/name")

    def test_the_dashboards_are_those_of_grafana(self):
        files = sorted((ROOT / "deploy/grafana/dashboards/Postern").glob("*.json"))
        self.assertTrue(files)
        made = render(values("large"))
        maps = [o for (kind, name), o in made.items() if kind == "ConfigMap" and name.endswith("-dashboard")]
        self.assertEqual({n: t for m in maps for n, t in m["data"].items()}, {f.name: f.read_text() for f in files})
        for dashboard in maps:
            self.assertEqual(dashboard["metadata"]["labels"]["grafana_dashboard"], "1")
            self.assertEqual(dashboard["metadata"]["annotations"], {"grafana_folder": "Postern"})

    def test_mistakes_are_named(self):
        self.refused(lambda v: v.update(replicas=3), ["replicas"])
        self.refused(lambda v: v["ingress"].update(replica=3), ["replica"])
        self.refused(lambda v: v["secrets"]["values"].pop("broker-url"), ["broker-url", "secrets.existing"])
        self.refused(lambda v: v["secrets"]["values"].pop("api-key"), ["api-key", "secrets.existing"])
        self.refused(lambda v: v["dispatchers"].update(x={"replicas": 1}), ["backends"])
        self.refused(lambda v: v["dispatchers"]["default"].update(backends=["Clinic"]), ["backends"])
        scaled = {"enabled": True, "min": 1}
        self.refused(lambda v: v["dispatchers"]["default"].update(autoscaling=scaled), ["autoscaling.backends"])
        self.refused(lambda v: v["dispatchers"]["default"].update(autoscaling={"min": 0}), ["min"])
        self.refused(lambda v: v["ingress"].update(expose={"enabled": True}), ["ingress.expose.hosts"])

    def test_every_value_is_explained_and_in_the_schema(self):
        text = (CHART / "values.yaml").read_text()
        schema = json.loads((CHART / "values.schema.json").read_text())

        def compare(given, known, path):
            names = set(known["properties"]) - {"global"}
            self.assertEqual(set(given), names, path)
            for key, value in given.items():
                if isinstance(value, dict) and "properties" in known["properties"][key]:
                    compare(value, known["properties"][key], f"{path}.{key}")

        compare(yaml.safe_load(text), schema, "values")

    def test_a_change_of_the_configuration_replaces_the_pods(self):
        before, after = values("small"), values("small")
        after["config"] = '[backends.other]\ntype = "console"\n'
        for of, pod in pods(render(before)).items():
            if "test" not in of:
                changed = pods(render(after))[of]
                self.assertNotEqual(pod["metadata"]["annotations"], changed["metadata"]["annotations"])
        name = "a-release-with-a-name-that-is-as-long-as-helm-allows"
        with helm.Chart.load(CHART) as chart:
            rendered = chart.render(values("large"), name=name, namespace="messaging")
        for found in re.findall(r"^  name: (\S+)$", "\n".join(rendered.values()), re.M):
            self.assertLessEqual(len(found.strip('"')), 63, found)


if __name__ == "__main__":
    POSTERN = sys.argv.pop(1)
    # It reports that deploy/helm/postern/files/rules is a link.
    helm.disable_logging()
    unittest.main(verbosity=1)
