/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Tests ../c/driver.c, a driver in C, with GoogleTest.
 *
 *     cargo build -p nmr-registrar-capi
 *     R=crates/nmr-registrar
 *     cc -c -I $R/include/km -I $R/include $R/examples/c/driver.c
 *     c++ -I $R/include/km -I $R/include -I $R/examples/c $R/examples/cpp/googletest.cpp driver.o \
 *         target/debug/libnmr_registrar_c.a -lgtest_main -lgtest -lpthread -ldl -lm -o driver-test && ./driver-test
 */
#include <gtest/gtest.h>

#include "peer.hpp"

using namespace nmr_registrar;

TEST(Driver, DoesNotLoadWithoutMemory)
{
    Session session;
    EXPECT_TRUE(session.fail(NMR_REGISTER_CLIENT, 0, STATUS_INSUFFICIENT_RESOURCES));
    EXPECT_EQ(DriverEntry(&Driver, nullptr), STATUS_INSUFFICIENT_RESOURCES);
    EXPECT_EQ(km_pool_blocks(), 0u);
    EXPECT_EQ(session.finish(), 0u);
}

TEST(Driver, LetsItsPeerGoWhenItsCallsAreDone)
{
    Session session;
    session.adversary();
    Attached = Cleaned = 0;
    EXPECT_EQ(DriverEntry(&Driver, nullptr), STATUS_SUCCESS);
    {
        Provider provider(Characteristics);
        EXPECT_EQ(provider.status(), STATUS_SUCCESS);
        EXPECT_EQ(Attached, 1);
        {
            AtIrql dispatch(DISPATCH_LEVEL);
            EXPECT_EQ(provider.deregister(), STATUS_PENDING);
        }
        EXPECT_EQ(Cleaned, 0);
        DriverCallsDone();
        EXPECT_EQ(Cleaned, 1);
    }
    Driver.DriverUnload(&Driver);
    EXPECT_EQ(session.finish(), 0u);
}

TEST(Registrar, CountsAMistake)
{
    Session session;
    EXPECT_EQ(NmrDeregisterClient(nullptr), STATUS_INVALID_PARAMETER);
    EXPECT_TRUE(session.expect(68));
    EXPECT_EQ(session.finish(), 0u);
}
