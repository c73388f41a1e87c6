"""Where servers differ from the contract: (case, set-up) → why.

A case is the name of a test function, with its parameter in brackets where only that differs.
Each entry is a strict expected failure: when a server (or we) improve, the run fails until
the entry is removed.
"""

from __future__ import annotations

READS_FIRST = "daphne reads the whole body before it runs the app, and forgets one that is cut off"
NO_DENIAL = "daphne has no websocket.http.response: every denial is an empty 403"
OWN_CODES = "daphne refuses the close codes 1001 to 2999; we send 3000 more"
NO_EMPTY = "daphne sends no empty messages"
NO_REASON = "daphne passes no close reason on, in neither direction"
# All that is left to us below a middleware, where daphne's own connection is out of sight.
NO_ABORT = "an exception in a response leaves daphne's connection open and ends its checks of all others"
LETS_CHUNKED_WIN = "h11 lets chunked win over a content-length, as RFC 9112 allows, and keeps the connection"
MALFORMED_IS_LEFT = "granian tells a malformed body as a client that left, and answers 500 by itself"
NO_KEY_CHECK = "the server opens a websocket without a look at Sec-WebSocket-Key"
NO_WIRE = "there is no wire inside a process"
NO_PRESSURE = "daphne takes whatever an app sends, however slowly the client reads"
NO_NOTICE = "daphne stops at once: connections are cut, and nobody is told"

# Not even tried: the failure would spoil the server for the tests that follow, or comes and goes.
UNSAFE = {
    ("test_a_client_that_does_not_read_is_left[stream]", "daphne"),
    ("test_a_client_that_does_not_read_is_left[websocket]", "daphne"),
    ("test_gzip_of_a_stream_that_fails_is_cut_off", "daphne"),
    ("test_row[B73-many]", "daphne"),  # it is busy for many seconds
}

DIFFERENCES: dict[tuple[str, str], str] = {
    ("test_a_client_that_does_not_read_is_left[stream]", "daphne"): NO_PRESSURE,
    ("test_a_client_that_does_not_read_is_left[websocket]", "daphne"): NO_PRESSURE,
    ("test_a_client_that_leaves_is_told[iter_body-fin]", "daphne"): READS_FIRST,
    ("test_a_client_that_leaves_is_told[iter_body-rst]", "daphne"): READS_FIRST,
    ("test_accept_adds_headers", "daphne"): "daphne ignores the headers of websocket.accept",
    ("test_accept_adds_headers", "granian"): "granian ignores the headers of websocket.accept",
    ("test_accept_twice_closes_with_1011", "daphne"): OWN_CODES,
    ("test_bad_request_line_leaves_the_server_alive", "inprocess"): NO_WIRE,
    ("test_client_that_leaves_in_its_request", "daphne"): READS_FIRST,
    ("test_client_that_stalls_is_left_in_time", "daphne"): NO_PRESSURE,
    ("test_close_of_the_client_is_told_with_code_and_reason", "daphne"): NO_REASON,
    ("test_close_of_the_client_is_told_with_code_and_reason", "granian"): "granian passes no reason on",
    ("test_close_of_the_client_is_told_with_code_and_reason", "hypercorn"): "hypercorn says 1006 for all",
    ("test_connection_goes_on_after_a_response_without_body", "inprocess"): NO_WIRE,
    ("test_connection_goes_on_after_an_error", "inprocess"): NO_WIRE,
    ("test_cut_off_stream_has_no_last_chunk", "inprocess"): NO_WIRE,
    ("test_denial_is_not_logged", "uvicorn-asgineer"): "uvicorn itself logs every denial as an error",
    ("test_denial_is_not_logged", "uvicorn-h11"): "uvicorn itself logs every denial as an error",
    ("test_denial_is_not_logged", "uvicorn-httptools"): "uvicorn itself logs every denial as an error",
    ("test_gzip_of_a_stream_that_fails_is_cut_off", "daphne"): NO_ABORT,
    ("test_handler_closes_with_its_own_code", "daphne"): NO_REASON,
    ("test_handler_is_told_that_the_server_stops", "daphne"): NO_NOTICE,
    ("test_handler_sends_text_bytes_dict_and_empty_messages", "daphne"): NO_EMPTY,
    ("test_handler_that_raises_closes_with_1011", "daphne"): OWN_CODES,
    ("test_http_error_after_accept_closes_with_1008", "daphne"): OWN_CODES,
    ("test_http_error_before_accept_is_the_denial", "daphne"): NO_DENIAL,
    ("test_injected_header_is_not_on_the_wire", "inprocess"): NO_WIRE,
    ("test_ipv6_request_is_served", "inprocess"): NO_WIRE,
    ("test_ipv6_websocket_is_served", "inprocess"): NO_WIRE,
    ("test_json_message_that_is_none_closes_with_1007", "daphne"): OWN_CODES,
    ("test_long_poll_is_a_503_when_the_server_stops", "daphne"): NO_NOTICE,
    ("test_message_comes_back_as_it_was[empty-bytes]", "daphne"): NO_EMPTY,
    ("test_message_comes_back_as_it_was[empty-text]", "daphne"): NO_EMPTY,
    ("test_pipelined_requests_are_answered_in_order", "inprocess"): NO_WIRE,
    ("test_response_before_accept_is_the_denial", "daphne"): NO_DENIAL,
    ("test_row[B17]", "hypercorn"): LETS_CHUNKED_WIN,
    ("test_row[B17]", "uvicorn-h11"): LETS_CHUNKED_WIN,
    ("test_row[B18-two]", "daphne"): "daphne looks at the first transfer-encoding only",
    ("test_row[B19-bare-lf]", "daphne"): READS_FIRST,
    ("test_row[B19-bare-lf]", "granian"): MALFORMED_IS_LEFT,
    ("test_row[B19-extension]", "granian"): MALFORMED_IS_LEFT,
    ("test_row[B19-hex]", "granian"): MALFORMED_IS_LEFT,
    ("test_row[B19-huge-size]", "daphne"): READS_FIRST,
    ("test_row[B19-sign]", "granian"): MALFORMED_IS_LEFT,
    ("test_row[B19-trailers]", "granian"): MALFORMED_IS_LEFT,
    ("test_row[B19-underscore]", "granian"): MALFORMED_IS_LEFT,
    ("test_row[B20]", "daphne"): READS_FIRST,
    ("test_row[B21-post]", "granian"): "granian opens a websocket by a POST too",
    ("test_row[B21-short-key]", "granian"): NO_KEY_CHECK,
    ("test_row[B21-short-key]", "hypercorn"): NO_KEY_CHECK,
    ("test_row[B21-two-keys]", "granian"): NO_KEY_CHECK,
    ("test_row[B21-two-keys]", "hypercorn"): NO_KEY_CHECK,
    ("test_row[B21-version]", "daphne"): "daphne opens websockets of any version",
    ("test_row[B22-bytes]", "daphne"): "daphne answers 500 by itself where a subprotocol is no UTF-8",
    ("test_row[B22-many]", "uvicorn-h11"): "uvicorn leaves a handshake unanswered that has a line over 8 KiB",
    (
        "test_row[B22-many]",
        "uvicorn-httptools",
    ): "uvicorn leaves a handshake unanswered that has a line over 8 KiB",
    ("test_row[B23-http-0.9]", "uvicorn-httptools"): "httptools answers HTTP/0.9",
    ("test_row[B23-http-2]", "uvicorn-h11"): "h11 takes the preface of HTTP/2 for a request",
    (
        "test_row[B26-scheme]",
        "uvicorn-h11",
    ): "uvicorn's own command trusts 127.0.0.1 as a proxy; run() turns that off",
    (
        "test_row[B26-scheme]",
        "uvicorn-httptools",
    ): "uvicorn's own command trusts 127.0.0.1 as a proxy; run() turns that off",
    ("test_row[B56-chunked-without-end]", "daphne"): READS_FIRST,
    ("test_row[B56-chunked]", "daphne"): "daphne keeps the connection; it has read the whole body",
    ("test_row[B56-length-alone]", "daphne"): READS_FIRST,
    ("test_row[B56-length]", "daphne"): "daphne keeps the connection; it has read the whole body",
    ("test_row[B56-swallowed-chunked]", "daphne"): "daphne keeps the connection; it has read the whole body",
    ("test_row[B56-swallowed]", "daphne"): "daphne keeps the connection; it has read the whole body",
    ("test_row[B57-body-chunked]", "daphne"): READS_FIRST,
    ("test_row[B57-body-length]", "daphne"): READS_FIRST,
    ("test_row[B57-pieces-chunked]", "daphne"): READS_FIRST,
    ("test_row[B57-pieces-length]", "daphne"): READS_FIRST,
    (
        "test_row[B73-many]",
        "daphne",
    ): "daphne parses forms by itself, before the app, with no limit on their fields",
    ("test_row[B89-accepts-twice]", "daphne"): OWN_CODES,
    ("test_row[B89-answers]", "daphne"): NO_DENIAL,
    ("test_row[B89-raises-later]", "daphne"): OWN_CODES,
    ("test_row[B89-receives-twice]", "daphne"): OWN_CODES,
    ("test_row[B89-returns-later]", "daphne"): OWN_CODES,
    ("test_row[B94-binary]", "daphne"): OWN_CODES,
    ("test_row[B94-deep]", "daphne"): OWN_CODES,
    ("test_row[B94-invalid]", "daphne"): OWN_CODES,
    ("test_row[B94-nan]", "daphne"): OWN_CODES,
    ("test_stream_may_say_goodbye_when_the_server_stops", "daphne"): NO_NOTICE,
    ("test_unix_client_is_a_tuple_too", "inprocess"): NO_WIRE,
    ("test_unix_request_is_served", "inprocess"): NO_WIRE,
    ("test_unix_websocket_is_served", "inprocess"): NO_WIRE,
    ("test_upload_arrives_piece_by_piece", "daphne"): READS_FIRST,
    ("test_upload_that_is_cut_off_is_a_disconnect", "daphne"): READS_FIRST,
    ("test_upload_that_is_cut_off_is_no_error", "daphne"): READS_FIRST,
    ("test_value_returned_after_accept_closes_with_1011", "daphne"): OWN_CODES,
    ("test_websocket_is_closed_with_1012_when_the_server_stops", "daphne"): NO_NOTICE,
    ("test_websocket_may_say_goodbye_when_the_server_stops", "daphne"): NO_NOTICE,
}
