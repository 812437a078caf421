/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "driver.h"
#include "nmr_registrar.h"

int main(void)
{
    DRIVER_OBJECT driver = {0};

    nmr_registrar_begin();
    nmr_registrar_adversary();

    /* Memory runs out in the driver's registration. */
    nmr_registrar_fail(NMR_REGISTER_CLIENT, 0, STATUS_INSUFFICIENT_RESOURCES);
    NT_ASSERT(DriverEntry(&driver, NULL) == STATUS_INSUFFICIENT_RESOURCES);

    /* It comes and goes, and leaves no memory behind. */
    NT_ASSERT(DriverEntry(&driver, NULL) == STATUS_SUCCESS);
    driver.DriverUnload(&driver);
    NT_ASSERT(km_pool_blocks() == 0);

    /* 0: no violation, and nothing left behind. */
    return nmr_registrar_end() != 0;
}
