/* A driver in miniature, with the NMR code of a client as it would be written for Windows. */
#include "driver.h"

#include <stdlib.h>

static const NPIID ExampleNpi = {0x8D5A1B10, 0x77A1, 0x4C12, {0x9B, 0x40, 0x5F, 0x0C, 0x1E, 0x22, 0x63, 0x01}};
static const NPI_MODULEID ModuleId = {
    sizeof(NPI_MODULEID), MIT_GUID, {{0x0C0FFEE0, 1, 2, {3, 4, 5, 6, 7, 8, 9, 10}}}};

typedef struct {
    HANDLE NmrBindingHandle;
    PVOID ProviderContext;
    const void *ProviderDispatch;
} BINDING;

int WrongHandle;
static HANDLE ClientHandle;
static HANDLE Pending;

static NTSTATUS NTAPI ClientAttachProvider(HANDLE NmrBindingHandle, PVOID ClientContext,
                                           PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    BINDING *Binding;
    NTSTATUS Status;

    (void)ClientContext;
    if (ProviderRegistrationInstance->Number != 0)
        return STATUS_NOINTERFACE;
    Binding = calloc(1, sizeof *Binding);
    if (!Binding)
        return STATUS_INSUFFICIENT_RESOURCES;
    Binding->NmrBindingHandle = NmrBindingHandle;
    Status = NmrClientAttachProvider(NmrBindingHandle, Binding, NULL, &Binding->ProviderContext,
                                     &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS)
        free(Binding);
    return Status;
}

/* There are always calls in progress in this example. */
static NTSTATUS NTAPI ClientDetachProvider(PVOID ClientBindingContext)
{
    Pending = ((BINDING *)ClientBindingContext)->NmrBindingHandle;
    return STATUS_PENDING;
}

static VOID NTAPI ClientCleanupBindingContext(PVOID ClientBindingContext)
{
    free(ClientBindingContext);
}

static const NPI_CLIENT_CHARACTERISTICS Characteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ClientAttachProvider,
    ClientDetachProvider,
    ClientCleanupBindingContext,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &ExampleNpi, &ModuleId, 0, NULL}};

NTSTATUS DriverEntry(void)
{
    return NmrRegisterClient(&Characteristics, NULL, &ClientHandle);
}

void DriverCallsDone(void)
{
    NmrClientDetachProviderComplete(WrongHandle ? ClientHandle : Pending);
}

void DriverUnload(void)
{
    if (NmrDeregisterClient(ClientHandle) == STATUS_PENDING)
        NmrWaitForClientDeregisterComplete(ClientHandle);
}
