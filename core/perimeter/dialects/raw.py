"""Servers that speak nothing the proxy knows: AWS Bedrock, Cohere, anything."""

from __future__ import annotations

from perimeter.dialects.base import RAW, UpstreamType


RAW_TYPE = UpstreamType("raw", dialects=(), fallback=RAW)
