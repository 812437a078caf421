/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Tests ../c/driver.c, a driver in C, with Catch2, version 2 or 3.
 *
 *     cargo build -p nmr-registrar-capi
 *     R=crates/nmr-registrar
 *     cc -c -I $R/include/km -I $R/include $R/examples/c/driver.c
 *     c++ -I $R/include/km -I $R/include -I $R/examples/c $R/examples/cpp/catch2.cpp driver.o \
 *         target/debug/libnmr_registrar_c.a -lpthread -ldl -lm -o driver-test && ./driver-test
 */
/* Version 3 also wants -lCatch2Main -lCatch2 before -lpthread. */
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_test_macros.hpp>
#else
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif

#include "peer.hpp"

using namespace nmr_registrar;

TEST_CASE("a driver without memory does not load")
{
    Session session;
    CHECK(session.fail(NMR_REGISTER_CLIENT, 0, STATUS_INSUFFICIENT_RESOURCES));
    CHECK(DriverEntry(&Driver, nullptr) == STATUS_INSUFFICIENT_RESOURCES);
    CHECK(km_pool_blocks() == 0u);
    CHECK(session.finish() == 0u);
}

TEST_CASE("a driver lets its peer go when its calls are done")
{
    Session session;
    session.adversary();
    Attached = Cleaned = 0;
    CHECK(DriverEntry(&Driver, nullptr) == STATUS_SUCCESS);
    {
        Provider provider(Characteristics);
        CHECK(provider.status() == STATUS_SUCCESS);
        CHECK(Attached == 1);
        {
            AtIrql dispatch(DISPATCH_LEVEL);
            CHECK(provider.deregister() == STATUS_PENDING);
        }
        CHECK(Cleaned == 0);
        DriverCallsDone();
        CHECK(Cleaned == 1);
    }
    Driver.DriverUnload(&Driver);
    CHECK(session.finish() == 0u);
}

TEST_CASE("a mistake is counted")
{
    Session session;
    CHECK(NmrDeregisterClient(nullptr) == STATUS_INVALID_PARAMETER);
    CHECK(session.expect(68));
    CHECK(session.finish() == 0u);
}
