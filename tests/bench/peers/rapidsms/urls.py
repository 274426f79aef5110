"""Where the backend receives."""

from django.urls import path
from rapidsms.backends.http.views import GenericHttpBackendView

urlpatterns = [path("backend/bench/", GenericHttpBackendView.as_view(backend_name="bench"))]
