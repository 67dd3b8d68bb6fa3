"""``/handbook/``, ``/robots.txt`` and ``/sitemap.xml``."""

from django.urls import path, re_path

from core.handbook import views

urlpatterns = [
    path("robots.txt", views.robots),
    path("sitemap.xml", views.sitemap),
    path("handbook/", views.choose_language, name="handbook"),
    re_path(r"^handbook/(?P<language>en|fa)/$", views.index, name="handbook-index"),
    re_path(r"^handbook/(?P<language>en|fa)/(?P<slug>[^/]+)/$", views.page, name="handbook-page"),
    re_path(r"^handbook/(?P<language>en|fa)/(?P<slug>[^/]+)$", views.slashless),
]
