"""Every public address, composed from the rooms' own."""

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path


def health(_request: HttpRequest) -> HttpResponse:
    """Answer while the process serves; says nothing of what it depends on."""
    return HttpResponse("ok\n", content_type="text/plain")


urlpatterns: list[URLPattern | URLResolver] = [
    path("health", health, name="health"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("merchants.pages.urls")),
]
