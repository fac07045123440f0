/**
 * The PCI Express capability, version 2 (PCI Express Base 5.0 section 7.5.3), and the extended
 * capabilities that a port has: AER (7.8.4) and ACS (7.7.8). Shared by emulated ports and bridges.
 */

import * as exp from "../abi/pci-express-regs.ts";
import * as ext from "../abi/pci-ext-regs.ts";
import * as pci from "../abi/pci-regs.ts";
import type { ConfigSpace } from "./config-space.ts";

export const EXPRESS_CAPABILITY_SIZE = 0x3c;

/** Link speeds by the name that users give them, in GT/s, and their register encoding. */
export const LINK_SPEEDS: Readonly<Record<string, number>> = {
  "2_5": 1,
  "5": 2,
  "8": 3,
  "16": 4,
  "32": 5,
  "64": 6,
};

export const LINK_WIDTHS: readonly number[] = [1, 2, 4, 8, 12, 16, 32];

export interface Link {
  /** Encoding as in LNKCAP: 1 = 2.5 GT/s. */
  readonly speed: number;
  /** Lanes. */
  readonly width: number;
}

const ERROR_BITS = exp.PCI_EXP_DEVCTL_CERE | 0x0e;
/** ASPM L0s is claimed, as every port must. */
const LINK_ASPM = exp.PCI_EXP_LNKCAP_ASPM_L0S;

/**
 * Adds the capability with its device and link registers.
 *
 * @param type device/port type, bits 7:4 of PCI Express Capabilities
 * @param options.link absent: no link registers (root complex integrated)
 * @returns its offset
 */
export function addExpressCapability(
  config: ConfigSpace,
  type: number,
  options: { readonly port?: number; readonly link?: Link; readonly offset?: number },
): number {
  const at = config.addCapability(pci.PCI_CAP_ID_EXP, options.offset, EXPRESS_CAPABILITY_SIZE);
  config.write(at + exp.PCI_EXP_FLAGS, 2, (type << 4) | 2);
  config.write(at + exp.PCI_EXP_DEVCAP, 4, exp.PCI_EXP_DEVCAP_RBER);
  config.setMask(config.wmask, at + exp.PCI_EXP_DEVCTL, 2, ERROR_BITS);
  config.setMask(config.w1cmask, at + exp.PCI_EXP_DEVSTA, 2, ERROR_BITS);
  const { link, port = 0 } = options;
  if (!link) return at;
  const encoded = (link.width << exp.PCI_EXP_LNKSTA_NLW_SHIFT) | link.speed;
  config.write(
    at + exp.PCI_EXP_LNKCAP,
    4,
    (port << 24) | LINK_ASPM | exp.PCI_EXP_LNKCAP_DLLLARC | encoded,
  );
  config.write(at + exp.PCI_EXP_LNKSTA, 2, encoded);
  config.write(at + exp.PCI_EXP_LNKCAP2, 4, (2 ** (link.speed + 1) - 1) & ~1);
  config.write(at + exp.PCI_EXP_LNKCTL2, 2, link.speed);
  return at;
}

const UNCORRECTABLE =
  ext.PCI_ERR_UNC_DLP |
  ext.PCI_ERR_UNC_SURPDN |
  ext.PCI_ERR_UNC_POISON_TLP |
  ext.PCI_ERR_UNC_FCP |
  ext.PCI_ERR_UNC_COMP_TIME |
  ext.PCI_ERR_UNC_COMP_ABORT |
  ext.PCI_ERR_UNC_UNX_COMP |
  ext.PCI_ERR_UNC_RX_OVER |
  ext.PCI_ERR_UNC_MALF_TLP |
  ext.PCI_ERR_UNC_ECRC |
  ext.PCI_ERR_UNC_UNSUP |
  ext.PCI_ERR_UNC_INTN;
/** Fatal by default: section 7.8.4.4. */
const FATAL =
  ext.PCI_ERR_UNC_DLP |
  ext.PCI_ERR_UNC_SURPDN |
  ext.PCI_ERR_UNC_FCP |
  ext.PCI_ERR_UNC_RX_OVER |
  ext.PCI_ERR_UNC_MALF_TLP |
  ext.PCI_ERR_UNC_INTN;
const CORRECTABLE =
  ext.PCI_ERR_COR_RCVR |
  ext.PCI_ERR_COR_BAD_TLP |
  ext.PCI_ERR_COR_BAD_DLLP |
  ext.PCI_ERR_COR_REP_ROLL |
  ext.PCI_ERR_COR_REP_TIMER |
  ext.PCI_ERR_COR_ADV_NFAT |
  ext.PCI_ERR_COR_INTERNAL |
  ext.PCI_ERR_COR_LOG_OVER;
const AER_SIZE = 0x48;

/** Advanced Error Reporting of a root port. @returns its offset */
export function addRootPortAer(config: ConfigSpace, offset: number): number {
  const at = config.addExtendedCapability(ext.PCI_EXT_CAP_ID_ERR, 2, offset, AER_SIZE);
  const { wmask, w1cmask } = config;
  config.setMask(w1cmask, at + ext.PCI_ERR_UNCOR_STATUS, 4, UNCORRECTABLE);
  config.setMask(wmask, at + ext.PCI_ERR_UNCOR_MASK, 4, UNCORRECTABLE);
  config.setMask(wmask, at + ext.PCI_ERR_UNCOR_SEVER, 4, UNCORRECTABLE);
  config.write(at + ext.PCI_ERR_UNCOR_SEVER, 4, FATAL);
  config.setMask(w1cmask, at + ext.PCI_ERR_COR_STATUS, 4, CORRECTABLE);
  config.setMask(wmask, at + ext.PCI_ERR_COR_MASK, 4, CORRECTABLE);
  config.write(at + ext.PCI_ERR_COR_MASK, 4, ext.PCI_ERR_COR_ADV_NFAT);
  config.setMask(wmask, at + ext.PCI_ERR_ROOT_COMMAND, 4, 7);
  config.setMask(w1cmask, at + ext.PCI_ERR_ROOT_STATUS, 4, 0x7f);
  return at;
}

const ACS_OF_PORT =
  ext.PCI_ACS_SV |
  ext.PCI_ACS_TB |
  ext.PCI_ACS_RR |
  ext.PCI_ACS_CR |
  ext.PCI_ACS_UF |
  ext.PCI_ACS_DT;

/** Access Control Services of a downstream-facing port. @returns its offset */
export function addPortAcs(config: ConfigSpace, offset: number): number {
  const at = config.addExtendedCapability(ext.PCI_EXT_CAP_ID_ACS, 1, offset, 8);
  config.write(at + ext.PCI_ACS_CAP, 2, ACS_OF_PORT);
  config.setMask(config.wmask, at + ext.PCI_ACS_CTRL, 2, ACS_OF_PORT);
  return at;
}
