"""What routes ask for, by type."""

from typing import Annotated

from fastapi import Depends, Request

from api.readiness import ReadinessCheck
from api.service import InteractionService
from core.orchestrator.application import Application
from core.orchestrator.config import Settings


def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


def _settings(request: Request) -> Settings:
    return _application(request).settings


def _service(request: Request) -> InteractionService:
    service: InteractionService = request.app.state.service
    return service


def _readiness(request: Request) -> ReadinessCheck:
    readiness: ReadinessCheck = request.app.state.readiness
    return readiness


App = Annotated[Application, Depends(_application)]
AppSettings = Annotated[Settings, Depends(_settings)]
Service = Annotated[InteractionService, Depends(_service)]
Readiness = Annotated[ReadinessCheck, Depends(_readiness)]
