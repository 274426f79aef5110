"""The path at which the backend receives messages."""

from django.urls import path
from rapidsms.backends.http.views import GenericHttpBackendView

urlpatterns = [path("backend/bench/", GenericHttpBackendView.as_view(backend_name="bench"))]
