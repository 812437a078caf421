/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The start and the end of the driver. What DriverEntry has done, DriverUnload undoes in reverse.
 */
#include "probe.h"

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD DriverUnload;

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *DriverObject, UNICODE_STRING *RegistryPath)
{
    NTSTATUS status = DeviceCreate(DriverObject, RegistryPath);

    if (status != STATUS_SUCCESS) {
        return status;
    }
    DriverObject->DriverUnload = DriverUnload;

    /* Last: from here on providers attach and call. */
    status = ClientRegister();
    if (status != STATUS_SUCCESS) {
        DbgPrintEx(DPFLTR_IHVNETWORK_ID, DPFLTR_ERROR_LEVEL, "probe-c: NmrRegisterClient returned 0x%08lx\n", status);
        DeviceDelete();
    }
    return status;
}

/* No request is inside and no handle is open: the I/O manager has seen to that. So no thread is inside ClientClassify,
 * not even behind the completion of a detach. */
static VOID NTAPI DriverUnload(DRIVER_OBJECT *DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    ClientDeregister();
    DeviceDelete();
}
