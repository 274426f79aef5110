"""The paths for messages, for Kannel's delivery reports, and for the tests' own questions."""

from django.http import JsonResponse
from django.urls import path
from rapidsms.backends.http.views import GenericHttpBackendView
from rapidsms.backends.kannel.models import DeliveryReport
from rapidsms.backends.kannel.views import DeliveryReportView
from rapidsms.router import lookup_connections, send


def reports(request):
    return JsonResponse(list(DeliveryReport.objects.order_by("id").values()), safe=False)


def broadcast(request, backend):
    send(request.GET["text"], lookup_connections(backend, request.GET.getlist("to")))
    return JsonResponse({})


urlpatterns = [
    path("backend/kannel/", GenericHttpBackendView.as_view(backend_name="kannel")),
    path("backend/vumi/", GenericHttpBackendView.as_view(backend_name="vumi")),
    path("delivery-report/", DeliveryReportView.as_view(), name="kannel-delivery-report"),
    path("test/reports/", reports),
    path("test/broadcast/<backend>/", broadcast),
]
