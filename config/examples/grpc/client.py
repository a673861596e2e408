#!/usr/bin/env python3
"""Says its arguments to the echo service, once each and then as a stream: client.py [--at ADDRESS] TEXT…"""
import argparse

import grpc


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", default="127.0.0.1:8080", help="where martlet listens")
    parser.add_argument("--host", default="grpc.default.localhost", help="the service's host")
    parser.add_argument("text", nargs="+")
    arguments = parser.parse_args()
    texts = [text.encode() for text in arguments.text]
    with grpc.insecure_channel(arguments.at, options=[("grpc.default_authority", arguments.host)]) as channel:
        say = channel.unary_unary("/example.Echo/Say")
        for text in texts:
            print("said", say(text, timeout=30).decode())
        chat = channel.stream_stream("/example.Echo/Chat")
        for text in chat(iter(texts), timeout=30):
            print("heard", text.decode())


if __name__ == "__main__":
    main()
