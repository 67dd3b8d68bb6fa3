from django.urls import path

from chat.api import views

urlpatterns = [
    path("query/", views.QueryView.as_view(), name="query"),
    path("messages/<uuid:message_id>", views.MessageView.as_view(), name="message"),
    path("messages/<uuid:message_id>/stream", views.StreamView.as_view(), name="message-stream"),
    path("messages/<uuid:message_id>/stop", views.StopView.as_view(), name="message-stop"),
]
