/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What the tests in C++ have in common: ../c/driver.c, which is tested, and a provider for it to attach to.
 */
#ifndef PEER_HPP
#define PEER_HPP

#include "nmr_registrar.hpp"
extern "C" {
#include "driver.h"
}

/* A provider for the driver to attach to. */
static const NPIID ExampleNpi = {0x8D5A1B10, 0x77A1, 0x4C12, {0x9B, 0x40, 0x5F, 0x0C, 0x1E, 0x22, 0x63, 0x01}};
static const NPI_MODULEID ProviderId = {sizeof(NPI_MODULEID), MIT_GUID, {{1, 2, 3, {0}}}};
static int Attached, Cleaned;
static DRIVER_OBJECT Driver;

static NTSTATUS NTAPI AttachClient(HANDLE, PVOID, PNPI_REGISTRATION_INSTANCE, PVOID, const void *,
                                   PVOID *ProviderContext, const void **Dispatch)
{
    Attached++;
    *ProviderContext = &Attached;
    *Dispatch = &Attached;
    return STATUS_SUCCESS;
}
static NTSTATUS NTAPI DetachClient(PVOID) { return STATUS_SUCCESS; }
static VOID NTAPI Cleanup(PVOID) { Cleaned++; }

static const NPI_PROVIDER_CHARACTERISTICS Characteristics = {
    0, sizeof Characteristics, AttachClient, DetachClient, Cleanup,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &ExampleNpi, &ProviderId, 0, nullptr}};

#endif
