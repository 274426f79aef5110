#!/usr/bin/env python3
"""Builds the dashboards of docker-compose.yml's Grafana.

    deploy/grafana/dashboards.py FOLDER     writes FOLDER/NAME.json for each

Their output is committed in deploy/grafana/dashboards/Postern. It needs grafana-foundation-sdk (requirements.txt
in this folder); `tests/run --only deploy` builds them again and compares, and tests/it/dashboards.rs runs
each query on a real Prometheus.
"""

import json
import pathlib
import sys

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as display
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import QueryEditorMode

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Each query is limited to the jobs and instances that the reader chose.
CHOSEN = 'job=~"$job",instance=~"$instance"'
GREEN, RED, YELLOW = "green", "red", "yellow"


def of(metric, more=""):
    """The chosen series of `metric`, limited by the further matchers `more`."""
    return f"{metric}{{{CHOSEN}{',' if more else ''}{more}}}"


def rate(metric, more=""):
    """The rate of a counter, per second."""
    return f"rate({of(metric, more)}[$__rate_interval])"


def quantile(share, metric, by, more=""):
    """The value that `share` of a histogram's observations do not exceed."""
    return f"histogram_quantile({share}, sum by ({by}, le) ({rate(metric + '_bucket', more)}))"


def queries(panel, targets):
    for number, (legend, expr) in enumerate(targets):
        query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + number))
        panel.with_target(query.datasource(SOURCE).editor_mode(QueryEditorMode.CODE))
    return panel


def common_part(panel, title, description, unit, width, height):
    return panel.title(title).description(description).unit(unit).datasource(SOURCE).span(width).height(height)


def graph(title, description, unit, targets, width=8, stacked=False):
    """Lines over time; `targets` are pairs of a legend and a query."""
    panel = common_part(timeseries.Panel(), title, description, unit, width, 7)
    panel.min(0).line_width(1).fill_opacity(30 if stacked else 10).show_points(display.VisibilityMode.NEVER)
    panel.legend(common.VizLegendOptions().display_mode(display.LegendDisplayMode.LIST).show_legend(True)
                 .placement(display.LegendPlacement.BOTTOM).calcs([]))
    panel.tooltip(common.VizTooltipOptions().mode(display.TooltipDisplayMode.MULTI).sort(display.SortOrder.DESCENDING))
    if stacked:
        panel.stacking(common.StackingConfig().mode(display.StackingMode.NORMAL).group("A"))
    return queries(panel, targets)


def levels(*steps):
    """Colours, each with the value at which it begins."""
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(
        [model.Threshold(value=value, color=color) for value, color in steps])


def figure(title, description, unit, expr, thresholds=((None, GREEN),), width=4):
    """One current figure."""
    panel = common_part(stat.Panel(), title, description, unit, width, 4)
    panel.thresholds(levels(*thresholds)).color_mode(display.BigValueColorMode.VALUE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    return queries(panel, [("", expr)])


def states(title, description, targets, width=8):
    """Bands of states over time, green at 0 and red at 1."""
    panel = common_part(statetimeline.Panel(), title, description, "none", width, 7)
    panel.thresholds(levels((None, GREEN), (1, RED))).show_value(display.VisibilityMode.NEVER)
    panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    panel.mappings([model.ValueMap(options={
        "0": model.ValueMappingResult(text="no"), "1": model.ValueMappingResult(text="yes")})])
    return queries(panel, targets)


def variable(name, label, query):
    """A variable for choosing values of a label; at first, all are chosen."""
    every = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    choice = dashboard.QueryVariable(name).label(label).query(query).datasource(SOURCE).current(every)
    choice.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    return choice.multi(True).include_all(True).all_value(".+")


def board(uid, title, description, jobs):
    page = dashboard.Dashboard(title).uid(uid).description(description).tags(["postern"]).readonly()
    page.timezone("browser").time("now-3h", "now").refresh("30s").tooltip(model.DashboardCursorSync.CROSSHAIR)
    page.link(dashboard.DashboardLink("Postern").type(model.DashboardLinkType.DASHBOARDS).tags(["postern"])
              .include_vars(False).keep_time(True))
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    page.with_variable(source.current(model.VariableOption(selected=True, text="Prometheus", value="prometheus")))
    page.with_variable(variable("job", "Job", f'label_values(up{{job=~"{jobs}"}}, job)'))
    page.with_variable(variable("instance", "Instance", 'label_values(up{job=~"$job"}, instance)'))
    alerts = dashboard.AnnotationQuery().name("Alerts that page").datasource(SOURCE).enable(True)
    return page.annotation(alerts.icon_color(RED).expr('ALERTS{alertstate="firing",severity="page"}'))


def messages():
    page = board("postern-messages", "Postern: messages",
                 "Messages that come in, go out, fail and wait; a row for each backend.", "postern.*")
    page.with_variable(variable("backend", "Backend", 'label_values(postern_backend_paused{job=~"$job"}, backend)'))
    page.with_row(dashboard.Row("All backends"))
    queue, failed, sent = 'queue=~"postern[.]outbound[.].+"', 'status=~"5.."', 'outcome="sent"'
    for panel in [
        figure("Processes", "Ingresses and dispatchers that answer Prometheus.", "none",
               f"sum({of('up')})", ((None, RED), (1, GREEN))),
        figure("Requests", "Requests of providers and applications per second.", "reqps",
               f"sum({rate('postern_ingress_requests_total')})"),
        figure("Answered with 5xx",
               "Share of requests that could not be stored: providers repeat them, or their messages are lost.",
               "percentunit", f"sum({rate('postern_ingress_requests_total', failed)}) / "
               f"sum({rate('postern_ingress_requests_total')}) or sum({of('up')}) * 0",
               ((None, GREEN), (0.001, YELLOW), (0.0144, RED))),
        figure("Sent", "Recipients whose messages providers accepted, per second.", "cps",
               f"sum({rate('postern_dispatch_recipients_total', sent)})"),
        figure("Waiting to be sent", "Messages in the queues of all backends.", "short",
               f"sum(max by (queue) ({of('postern_queue_messages', queue)}))"),
        figure("Dead letters", "Messages in postern.dead, until somebody redrives or drops them.", "short",
               f"max({of('postern_dead_letters_waiting')})", ((None, GREEN), (1, YELLOW))),
        graph("Answers", "Requests on the public port by status, including the API's.", "reqps",
              [("{{status}}", f"sum by (status) ({rate('postern_ingress_requests_total')})")], stacked=True),
        graph("Answered within", "From a request's first byte to its answer.", "s",
              [("median {{job}}", quantile(0.5, "postern_ingress_request_duration_seconds", "job")),
               ("99 of 100 {{job}}", quantile(0.99, "postern_ingress_request_duration_seconds", "job"))]),
        graph("To the application", "Messages, reports and callbacks that wait for the application or a client.",
              "short", [("{{queue}}", "max by (queue) (" +
                         of("postern_queue_messages", 'queue=~"postern[.](inbound|reports|callbacks.*)"') + ")")]),
    ]:
        page.with_panel(panel)
    page.with_row(dashboard.Row("$backend").repeat("backend"))
    one = 'backend=~"$backend"'
    own = 'queue=~"postern[.]outbound[.]($backend)([.]bulk)?"'
    for panel in [
        graph("In", "Requests of its provider by status: messages and delivery reports.", "reqps",
              [("{{status}}", f"sum by (status) ({rate('postern_ingress_requests_total', one)})")],
              width=6, stacked=True),
        graph("Out", "Recipients by the outcome of the attempt.", "cps",
              [("{{outcome}}", f"sum by (outcome) ({rate('postern_dispatch_recipients_total', one)})")],
              width=6, stacked=True),
        graph("Failures by class", "Recipients that are retried, and dead letters.", "cps",
              [("retried: {{class}}", f"sum by (class) ({rate('postern_retries_total', one)})"),
               ("dead: {{class}}", f"sum by (class) ({rate('postern_dead_letters_total', one)})")], width=6),
        graph("Reports", "Recipients by state in the provider's delivery reports.", "cps",
              [("{{state}}", f"sum by (state) ({rate('postern_reports_total', one)})")], width=6, stacked=True),
        graph("Age", "How old messages are when they are sent, and how long the oldest one has waited.", "s",
              [("median", quantile(0.5, "postern_message_age_seconds", "backend", one)),
               ("95 of 100", quantile(0.95, "postern_message_age_seconds", "backend", one)),
               ("oldest waiting", f"max by (backend) ({of('postern_oldest_message_age_seconds', one)})")], width=6),
        graph("Queue", "Messages that wait in each queue of the backend, and requests in flight.", "short",
              [("{{queue}}", f"max by (queue) ({of('postern_queue_messages', own)})"),
               ("in flight", f"sum({of('postern_dispatch_in_flight', one)})"),
               ("at most in flight", f"sum({of('postern_dispatch_concurrency', one)})")], width=6),
        states("Pauses",
               "Whether the backend is paused by an operator, its breaker is open because the provider is down, or "
               "it is not ready to send.",
               [("paused", f"max by (backend) ({of('postern_backend_paused', one)})"),
                ("breaker open", f"max by (backend) ({of('postern_breaker_open', one)})"),
                ("not ready", f"1 - min by (backend) ({of('postern_backend_ready', one)})")], width=6),
        graph("Provider's answers",
              "How long a request to the provider takes, and how often the provider asks for fewer messages.", "s",
              [("median", quantile(0.5, "postern_send_duration_seconds", "backend", one)),
               ("95 of 100", quantile(0.95, "postern_send_duration_seconds", "backend", one)),
               ("asks for fewer, per second", f"sum({rate('postern_throttled_total', one)})")], width=6),
    ]:
        page.with_panel(panel)
    return page


def broker():
    page = board("postern-broker", "Postern: broker",
                 "RabbitMQ, its queues, and how Postern's processes see it.", "rabbitmq.*|postern.*")
    page.with_row(dashboard.Row("RabbitMQ"))
    bad = ((None, GREEN), (1, RED))
    queue, node = 'queue=~"postern[.].+"', 'job="rabbitmq"'
    for panel in [
        figure("Nodes", "Nodes that answer Prometheus.", "none", f"sum({of('up', node)})",
               ((None, RED), (1, GREEN))),
        figure("Memory alarm", "1: memory is above the high watermark, and RabbitMQ accepts no messages.", "none",
               f"max({of('rabbitmq_alarms_memory_used_watermark')})", bad),
        figure("Disk alarm", "1: free disk space is below the limit, and RabbitMQ accepts no messages.", "none",
               f"max({of('rabbitmq_alarms_free_disk_space_watermark')})", bad),
        figure("Connections", "Connections of all clients.", "short", f"sum({of('rabbitmq_connections')})"),
        figure("Messages", "Messages in all queues, ready and unacknowledged.", "short",
               f"sum({of('rabbitmq_queue_messages')})"),
        figure("Consumers", "Consumers of all queues.", "short", f"sum({of('rabbitmq_consumers')})"),
        graph("Memory", "Memory that the node uses, and its high watermark.", "bytes",
              [("used {{instance}}", of("rabbitmq_process_resident_memory_bytes")),
               ("limit {{instance}}", of("rabbitmq_resident_memory_limit_bytes"))]),
        graph("Free disk", "Free space, and the limit below which RabbitMQ accepts no messages.", "bytes",
              [("free {{instance}}", of("rabbitmq_disk_space_available_bytes")),
               ("limit {{instance}}", of("rabbitmq_disk_space_available_limit_bytes"))]),
        graph("Messages a second",
              "Messages that clients publish, get confirmed and acknowledge, and messages without a queue.", "cps",
              [(name, "sum(rate(" + of(f"rabbitmq_global_messages_{metric}_total") + "[$__rate_interval]))")
               for name, metric in [("published", "received"), ("confirmed", "confirmed"),
                                    ("acknowledged", "acknowledged"), ("unroutable", "unroutable_returned")]]),
        graph("Ready", "Messages that wait in each of Postern's queues.", "short",
              [("{{queue}}", f"sum by (queue) ({of('rabbitmq_detailed_queue_messages_ready', queue)})")]),
        graph("Unacknowledged", "Messages that consumers of each queue hold.", "short",
              [("{{queue}}", f"sum by (queue) ({of('rabbitmq_detailed_queue_messages_unacked', queue)})")]),
        graph("Consumers by queue",
              "If a backend's queue has no consumer, no dispatcher sends its messages.", "short",
              [("{{queue}}", f"sum by (queue) ({of('rabbitmq_detailed_queue_consumers', queue)})")]),
    ]:
        page.with_panel(panel)
    page.with_row(dashboard.Row("As Postern sees it"))
    for panel in [
        states("Broker", "Processes without a connection, and processes whose messages the broker does not accept.",
               [("{{instance}} away", f"1 - {of('postern_broker_connected')}"),
                ("{{instance}} blocked", of("postern_broker_blocked"))]),
        graph("Spool", "Messages stored on an ingress's own disk, because the broker accepts none.", "short",
              [("{{instance}}", of("postern_spool_messages"))]),
        graph("Oldest in the spool", "How long the oldest message has been in the spool.", "s",
              [("{{instance}}", of("postern_spool_oldest_seconds"))]),
        graph("Confirmed within", "From a publish to the broker's confirm.", "s",
              [("median {{queue}}", quantile(0.5, "postern_publish_duration_seconds", "queue")),
               ("99 of 100 {{queue}}", quantile(0.99, "postern_publish_duration_seconds", "queue"))]),
        graph("Not published", "Publishes that were neither confirmed nor spooled.", "cps",
              [("{{queue}}", f"sum by (queue) ({rate('postern_publish_failures_total')})")]),
        graph("Used", "Share of its limit that each queue uses.", "percentunit",
              [("{{queue}}", f"max by (queue) ({of('postern_queue_messages')}) / "
                             f"max by (queue) ({of('postern_queue_max_messages')})")]),
    ]:
        page.with_panel(panel)
    return page


def log():
    page = board("postern-log", "Postern: message log",
                 "Whether the message log is written; and dropped lines of the processes' own logs.",
                 "postern.*")
    queue = 'queue="postern.log"'
    waiting = of("postern_queue_messages", queue)
    for panel in [
        figure("Written", "Events written to the message log, per second.", "cps",
               f"sum({rate('postern_log_events_total')})", width=6),
        figure("Lag", "How long ago the first event of the last batch had happened when it was written.", "s",
               f"max({of('postern_log_lag_seconds')})", ((None, GREEN), (60, YELLOW), (600, RED)), width=6),
        figure("Waiting", "Events in postern.log that no dispatcher has consumed yet.", "short", f"max({waiting})",
               width=6),
        figure("Used", "Share of log.max_waiting that is used: at 1, the oldest events are dropped.", "percentunit",
               f"max({waiting}) / max({of('postern_queue_max_messages', queue)})",
               ((None, GREEN), (0.5, YELLOW), (0.9, RED)), width=6),
        graph("Events", "Events written to the message log.", "cps",
              [("{{instance}}", f"sum by (instance) ({rate('postern_log_events_total')})")]),
        graph("Not written", "Batches that the database did not accept and that are retried; unreadable events.", "cps",
              [("{{instance}}", f"sum by (instance) ({rate('postern_log_failures_total')})")]),
        graph("Lag", "How long ago the first event of the last batch had happened when it was written.", "s",
              [("{{instance}}", f"max by (instance) ({of('postern_log_lag_seconds')})")]),
        graph("Lines dropped", "Lines of a process's own log that nobody read in time.", "cps",
              [("{{instance}}", f"sum by (instance) ({rate('postern_log_lines_dropped_total')})")], width=24),
    ]:
        page.with_panel(panel)
    return page


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for page in [messages(), broker(), log()]:
        built = page.build()
        for number, panel in enumerate(built.panels, 1):
            panel.id_val = number
        text = json.dumps(built, cls=JSONEncoder, indent=2, ensure_ascii=False)
        (folder / f"{built.uid}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
