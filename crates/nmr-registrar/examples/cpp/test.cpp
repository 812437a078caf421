/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Tests ../c/driver.c, a driver in C, from C++, without a test framework. googletest.cpp and catch2.cpp are tests with one.
 *
 *     cargo build -p nmr-registrar-capi
 *     cc -c -I crates/nmr-registrar/include/km -I crates/nmr-registrar/include crates/nmr-registrar/examples/c/driver.c
 *     c++ -I crates/nmr-registrar/include/km -I crates/nmr-registrar/include -I crates/nmr-registrar/examples/c \
 *         crates/nmr-registrar/examples/cpp/test.cpp driver.o \
 *         target/debug/libnmr_registrar_c.a -lpthread -ldl -lm -o driver-test && ./driver-test
 */
#include "peer.hpp"

#include <cstdio>
#include <cstdlib>

using namespace nmr_registrar;

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::printf("%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);    \
            std::exit(1);                                                                \
        }                                                                                \
    } while (0)

static void ADriverWithoutMemoryDoesNotLoad()
{
    Session session;
    CHECK(session.fail(NMR_REGISTER_CLIENT, 0, STATUS_INSUFFICIENT_RESOURCES));
    CHECK(DriverEntry(&Driver, nullptr) == STATUS_INSUFFICIENT_RESOURCES);
    CHECK(session.finish() == 0);
}

static void TheProviderLeavesWhileTheDriverCallsIt()
{
    Session session;
    session.adversary();
    Attached = Cleaned = 0;
    CHECK(DriverEntry(&Driver, nullptr) == STATUS_SUCCESS);
    {
        Provider provider(Characteristics);
        CHECK(provider.status() == STATUS_SUCCESS && Attached == 1);
        {
            AtIrql dispatch(DISPATCH_LEVEL);
            CHECK(provider.deregister() == STATUS_PENDING);
        }
        CHECK(session.report().find("client pending") != std::string::npos);
        Held late = session.delay(NMR_CLIENT_DETACH_PROVIDER_COMPLETE);
        DriverCallsDone();
        CHECK(Cleaned == 0);
        late.resume();
        CHECK(Cleaned == 1);
    }
    Driver.DriverUnload(&Driver);
    CHECK(session.finish() == 0);
}

static void TheDriverAndItsPeerComeAndGoAtTheSameTime()
{
    Session session;
    session.set_seed(5);
    bool loaded = false, left = false;
    auto driver = [&] {
        loaded = DriverEntry(&Driver, nullptr) == STATUS_SUCCESS;
        /* When the peer leaves, the driver's calls into it end. */
        while (!left && session.report().find("client pending") == std::string::npos)
            nmr_registrar_give_way();
        if (!left)
            DriverCallsDone();
        Driver.DriverUnload(&Driver);
    };
    auto peer = [&] {
        Provider provider(Characteristics);
        provider.end();
        left = true;
    };
    CHECK(session.run({driver, peer}) > 3 && loaded);
    CHECK(session.finish() == 0);
}

static void AMistakeIsCounted()
{
    Session session;
    CHECK(NmrDeregisterClient(nullptr) == STATUS_INVALID_PARAMETER);
    CHECK(session.violations() == 1 && session.expect(68) && !session.expect(68));
    CHECK(session.finish() == 0);
}

int main(int argc, char **)
{
    if (argc > 1) {
        /* Nobody looks at what this session found, so the process ends. */
        Session session;
        NmrDeregisterClient(nullptr);
        return 0;
    }
    ADriverWithoutMemoryDoesNotLoad();
    TheProviderLeavesWhileTheDriverCallsIt();
    TheDriverAndItsPeerComeAndGoAtTheSameTime();
    AMistakeIsCounted();
    return 0;
}
