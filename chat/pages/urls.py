from django.urls import path

from chat.pages import views

urlpatterns = [
    path("", views.home, name="chat"),
    path("chat/ask/", views.ask, name="chat-ask"),
    path("chat/<uuid:conversation_id>/", views.conversation, name="chat-conversation"),
    path("chat/messages/<uuid:message_id>/stream/", views.stream, name="chat-stream"),
    path("chat/messages/<uuid:message_id>/stop/", views.stop, name="chat-stop"),
    path("chat/messages/<uuid:message_id>/rate/", views.rate, name="chat-rate"),
    path("chat/notices/<int:receipt_id>/dismiss/", views.dismiss, name="chat-dismiss"),
]
