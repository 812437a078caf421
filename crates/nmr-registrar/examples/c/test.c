/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Tests driver.c with a provider that it attaches to:
 *
 *     cargo build -p nmr-registrar-capi
 *     cc -I crates/nmr-registrar/include/km -I crates/nmr-registrar/include \
 *        crates/nmr-registrar/examples/c/test.c crates/nmr-registrar/examples/c/driver.c \
 *        target/debug/libnmr_registrar_c.a -lpthread -ldl -lm -o driver-test && ./driver-test
 *
 * With an argument the driver makes a mistake, and the test fails and says which.
 */
#include "driver.h"
#include "nmr_registrar.h"

#include <stdio.h>

static const NPIID ExampleNpi = {0x8D5A1B10, 0x77A1, 0x4C12, {0x9B, 0x40, 0x5F, 0x0C, 0x1E, 0x22, 0x63, 0x01}};
static const NPI_MODULEID ProviderId = {sizeof(NPI_MODULEID), MIT_GUID, {{1, 2, 3, {0}}}};
static int Attached, Cleaned;

static NTSTATUS AttachClient(HANDLE Binding, PVOID Context, PNPI_REGISTRATION_INSTANCE Client, PVOID ClientContext,
                             const void *ClientDispatch, PVOID *ProviderContext, const void **Dispatch)
{
    (void)Binding, (void)Context, (void)Client, (void)ClientContext, (void)ClientDispatch;
    Attached++;
    *ProviderContext = &Attached;
    *Dispatch = &Attached;
    return STATUS_SUCCESS;
}
static NTSTATUS DetachClient(PVOID Context)
{
    (void)Context;
    return STATUS_SUCCESS;
}

static VOID Cleanup(PVOID Context)
{
    (void)Context;
    Cleaned++;
}

static const NPI_PROVIDER_CHARACTERISTICS Provider = {
    0, sizeof Provider, AttachClient, DetachClient, Cleanup,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &ExampleNpi, &ProviderId, 0, NULL}};

#define CHECK(condition) \
    if (!(condition)) { printf("%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); return 1; }

int main(int argc, char **argv)
{
    DRIVER_OBJECT Driver = {0};
    HANDLE ProviderHandle;
    char report[4096];

    (void)argv;
    WrongHandle = argc > 1;
    CHECK(nmr_registrar_begin() == 0);

    /* Memory runs out while the driver registers. */
    CHECK(nmr_registrar_fail(NMR_REGISTER_CLIENT, 0, STATUS_INSUFFICIENT_RESOURCES) == 0);
    CHECK(DriverEntry(&Driver, NULL) == STATUS_INSUFFICIENT_RESOURCES);

    /* The provider leaves, at DISPATCH_LEVEL, while the driver is calling it. */
    CHECK(DriverEntry(&Driver, NULL) == STATUS_SUCCESS);
    CHECK(NmrRegisterProvider(&Provider, NULL, &ProviderHandle) == STATUS_SUCCESS);
    CHECK(Attached == 1);
    nmr_registrar_set_irql(DISPATCH_LEVEL);
    CHECK(NmrDeregisterProvider(ProviderHandle) == STATUS_PENDING);
    nmr_registrar_set_irql(PASSIVE_LEVEL);
    nmr_registrar_report(report, sizeof report);
    puts(report);
    CHECK(Cleaned == 0);
    DriverCallsDone();
    if (nmr_registrar_violations() == 0) {
        CHECK(NmrWaitForProviderDeregisterComplete(ProviderHandle) == STATUS_SUCCESS);
        CHECK(Cleaned == 1);
        Driver.DriverUnload(&Driver);
        CHECK(km_pool_blocks() == 0);
    }
    return nmr_registrar_end() == 0 ? 0 : 1;
}
