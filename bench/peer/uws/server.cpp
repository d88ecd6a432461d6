// A raw WebSocket server on uWebSockets: echo, or one publication to all.
#include "App.h"

#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

static std::string setting(const char *name) {
    const char *value = std::getenv(name);
    return value ? value : "";
}

struct PerSocket {};

template <bool TLS> static void serve(uWS::SocketContextOptions options) {
    const bool broadcast = setting("APP") == "broadcast";
    const int port = std::stoi(setting("PORT"));
    uWS::TemplatedApp<TLS> app(options);
    app.template ws<PerSocket>("/*", {
        .compression = uWS::DISABLED,
        .maxPayloadLength = 1'000'000,
        .idleTimeout = 0, // no heartbeats, as in the other raw servers
        .maxBackpressure = 0, // no limit
        .sendPingsAutomatically = false,
        .open = [broadcast](auto *ws) {
            if (broadcast) ws->subscribe("all");
        },
        .message = [broadcast, &app](auto *ws, std::string_view message, uWS::OpCode code) {
            if (broadcast) {
                app.publish("all", message, code);
            } else {
                ws->send(message, code);
            }
        },
    });
    app.listen("127.0.0.1", port, [port](auto *socket) {
        if (!socket) {
            std::cerr << "cannot listen on port " << port << std::endl;
            std::exit(1);
        }
    });
    app.run();
}

// Each thread has an event loop and a listener of its own on the port, which is
// how uWebSockets uses more than one core. A broadcast reaches the clients of
// one thread.
int main() {
    const std::string certificate = setting("TLS_CERT"), key = setting("TLS_KEY"), workers = setting("WORKERS");
    std::vector<std::thread> threads;
    for (int i = 0; i < std::max(1, workers.empty() ? 1 : std::stoi(workers)); i++) {
        threads.emplace_back([&] {
            if (certificate.empty()) {
                serve<false>({});
            } else {
                serve<true>({.key_file_name = key.c_str(), .cert_file_name = certificate.c_str()});
            }
        });
    }
    for (auto &t : threads) t.join();
}
