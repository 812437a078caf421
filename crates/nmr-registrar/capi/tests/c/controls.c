/* What nmr_registrar.h offers beside what the example uses, against the driver of the example. */
#include "driver.h"
#include "nmr_registrar.h"

#include <stdio.h>
#include <string.h>

static const NPIID ExampleNpi = {0x8D5A1B10, 0x77A1, 0x4C12, {0x9B, 0x40, 0x5F, 0x0C, 0x1E, 0x22, 0x63, 0x01}};
static const NPI_MODULEID ProviderId = {sizeof(NPI_MODULEID), MIT_GUID, {{1, 2, 3, {0}}}};
static HANDLE LastBinding;
static int Cleaned;

static NTSTATUS AttachClient(HANDLE Binding, PVOID Context, PNPI_REGISTRATION_INSTANCE Client, PVOID ClientContext,
                             const void *ClientDispatch, PVOID *ProviderContext, const void **Dispatch)
{
    (void)Context, (void)Client, (void)ClientContext, (void)ClientDispatch;
    LastBinding = Binding;
    *ProviderContext = &Cleaned;
    *Dispatch = &Cleaned;
    return STATUS_SUCCESS;
}
static NTSTATUS DetachClient(PVOID Context) { (void)Context; return STATUS_SUCCESS; }
static VOID Cleanup(PVOID Context) { (void)Context; Cleaned++; }

static const NPI_PROVIDER_CHARACTERISTICS Provider = {
    0, sizeof Provider, AttachClient, DetachClient, Cleanup,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &ExampleNpi, &ProviderId, 0, NULL}};

#define CHECK(condition) \
    if (!(condition)) { printf("%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); return 1; }

static DRIVER_OBJECT Driver;
static HANDLE ProviderHandle;

static void RegisterProvider(void *argument)
{
    (void)argument;
    NmrRegisterProvider(&Provider, NULL, &ProviderHandle);
}

static void LoadDriver(void *argument)
{
    *(NTSTATUS *)argument = DriverEntry(&Driver, NULL);
}

int main(void)
{
    NTSTATUS loaded = STATUS_PENDING;
    uint32_t delay;
    char report[4096];

    CHECK(nmr_registrar_adversary() == 0 && nmr_registrar_thread(LoadDriver, &loaded) == -1);
    CHECK(nmr_registrar_begin() == 0);
    CHECK(nmr_registrar_adversary() == 17);

    /* Two threads in an order that the seed decides. */
    CHECK(nmr_registrar_thread(NULL, NULL) == -1);
    CHECK(nmr_registrar_thread(RegisterProvider, NULL) == 0 && nmr_registrar_thread(LoadDriver, &loaded) == 0);
    CHECK(nmr_registrar_run_threads() > 4);
    CHECK(loaded == STATUS_SUCCESS && LastBinding);

    /* The client calls, and goes on to call when its detach is pending (R43). */
    CHECK(nmr_registrar_call_begins(LastBinding, 1) == 0);
    CHECK(NmrDeregisterProvider(ProviderHandle) == STATUS_PENDING);
    CHECK(nmr_registrar_call_begins(LastBinding, 1) == -1 && nmr_registrar_expect(43) == 0);
    CHECK(nmr_registrar_call_returns(LastBinding, 1, STATUS_PENDING) == 0);
    CHECK(nmr_registrar_call_completes(LastBinding, 1) == 0 && nmr_registrar_call_completes(LastBinding, 1) == -1);
    CHECK(nmr_registrar_call_returns(LastBinding, 1, STATUS_SUCCESS) == 0);
    CHECK(nmr_registrar_call_returns(LastBinding, 1, STATUS_SUCCESS) == -1);

    /* The Complete function is late. */
    CHECK(nmr_registrar_delay(NMR_REGISTER_CLIENT, 0) == 0);
    delay = nmr_registrar_delay(NMR_CLIENT_DETACH_PROVIDER_COMPLETE, 0);
    CHECK(delay != 0);
    DriverCallsDone();
    CHECK(Cleaned == 0);
    nmr_registrar_resume(delay);
    CHECK(Cleaned == 1);
    CHECK(NmrWaitForProviderDeregisterComplete(ProviderHandle) == STATUS_SUCCESS);
    CHECK(nmr_registrar_slow_waits() == 0);

    /* The driver is unloaded without its DriverUnload. */
    CHECK(nmr_registrar_name_image(NULL, 0, 0) == -1);
    CHECK(nmr_registrar_name_image("driver.sys", 0, (size_t)-1) == 0);
    nmr_registrar_report(report, sizeof report);
    CHECK(strstr(report, "in driver.sys"));
    CHECK(nmr_registrar_unload_image(0, (size_t)-1) == 1);
    CHECK(nmr_registrar_expect(65) == 0);
    Driver.DriverUnload(&Driver);
    CHECK(nmr_registrar_end() == 0);
    return 0;
}
