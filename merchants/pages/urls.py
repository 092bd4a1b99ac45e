"""Addresses of the pages."""

from django.urls import path

from merchants.pages import checkout

app_name = "checkout"
urlpatterns = [
    path("favicon.ico", checkout.icon, name="icon"),
    path("i/<str:token>", checkout.show, name="show"),
    path("i/<str:token>/choose", checkout.choose, name="choose"),
    path("i/<str:token>/status", checkout.status, name="status"),
    path("i/<str:token>/test-pay", checkout.test_pay, name="test-pay"),
]
